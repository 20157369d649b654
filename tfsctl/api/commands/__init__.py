"""Python functions that do what a command does: `compare` and `export`."""
