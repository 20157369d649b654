"""The Python API. `import tfsctl` offers its names, such as `connect`, `serve` and `Client`.

Look in `client.py` for requests, `connecting.py` for addresses and TLS, `serving.py` for starting a server.
"""
