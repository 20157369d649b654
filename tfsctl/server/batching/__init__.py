"""TensorFlow Serving's batching: its parameters, scheduler and sessions."""
