"""Versions in production: their inventory, labels, comparisons of two versions, recordings, and gradual rollouts."""
