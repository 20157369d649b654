"""Checks before a container is started: its options, its mounts, and the operations of its image."""
