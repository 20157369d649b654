"""Model servers that run in a Docker container."""
