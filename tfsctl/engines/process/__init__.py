"""The engines whose servers are processes of this machine: `binary` and `embedded`."""
