"""Checks models and config files by TensorFlow Serving's rules, without a server and without TensorFlow."""
