"""Rows in files: read in constant memory and shaped to a signature; answers written as they come, whole or not at all."""
