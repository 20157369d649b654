"""Rows in files: read in constant memory, converted to a signature's inputs; results written while they arrive."""
