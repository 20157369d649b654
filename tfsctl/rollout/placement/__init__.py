"""Fronts before servers that are already running."""
