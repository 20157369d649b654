"""TensorFlow's C API: sessions, runs and how long they take. The only door to libtensorflow_cc."""
