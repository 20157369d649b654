"""Converts what a person typed or stored in a file to the inputs of a model."""
