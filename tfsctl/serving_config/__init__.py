"""The configuration of a server: models and options as values, and as TensorFlow Serving's flags and text protos."""
