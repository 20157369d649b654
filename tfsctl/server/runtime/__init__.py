"""TensorFlow's C API: sessions and runs. Nothing else in the server calls libtensorflow_cc."""
