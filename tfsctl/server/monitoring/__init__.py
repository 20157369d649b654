"""Metrics: counters and histograms, and the Prometheus page."""
