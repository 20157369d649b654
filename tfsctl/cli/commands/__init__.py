"""The commands: one module and one function per command, in the folders that `registry.py` lists."""
