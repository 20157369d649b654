"""What to serve, as a value and as TensorFlow Serving's flags and text protos."""
