"""The docker engine: TensorFlow Serving in a container, Compose files and self-contained images."""
