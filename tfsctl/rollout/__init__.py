"""Versions in production: what is there, labels, comparisons of two versions, and gradual rollouts."""
