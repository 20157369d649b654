"""tfsctl from Python. What `import tfsctl` offers, lazily: connect, connect_async, serve, export_model."""
