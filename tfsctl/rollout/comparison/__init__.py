"""Compares the predictions of two versions of a model, A (old) and B (new): agreement, quality, latency and gates."""
