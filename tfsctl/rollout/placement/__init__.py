"""Puts a front (Envoy) in front of a server that is already running, and takes it away."""
