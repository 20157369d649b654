"""Readers of files: each yields the blocks of rows of one format."""
