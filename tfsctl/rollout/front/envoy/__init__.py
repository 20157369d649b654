"""Envoy as a front uses it: its program, its start-up configuration, its routes, and its admin interface."""
