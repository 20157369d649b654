"""JSON bodies read and written as TensorFlow Serving does."""
