"""The Python API. `import tfsctl` offers its names, such as `connect`, `serve` and `Client`.

Look in `client.py` for requests, `connecting.py` for addresses and TLS, `serving.py` for starting a server, and
`commands/` for functions that do what a command does, such as `export` and `canary`.
"""
