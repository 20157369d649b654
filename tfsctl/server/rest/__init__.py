"""The REST API: TensorFlow Serving's paths and bodies."""
