"""What to serve, as values, and as TensorFlow Serving's flags and text protos."""
