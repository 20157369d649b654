"""Converts typed text and files to the inputs of a model."""
