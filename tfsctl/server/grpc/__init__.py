"""The gRPC API: TensorFlow Serving's services, health checks and reflection."""
