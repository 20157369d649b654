"""The embedded model server: TensorFlow Serving's protocol, lifecycle and words over TensorFlow's C API."""
