"""How model servers are started, watched and stopped.

The modules in this folder are shared by all engines. Above them:

- `docker/` and `process/`: the engines (a container, or a process of this machine)
- `registry/`: which servers exist, and their states
- `planning/`: from the options of `tfsctl serve` to a server that answers
"""
