"""Clients of a model server: the same calls, values and errors over REST and gRPC. TensorFlow is never loaded."""
