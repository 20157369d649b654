"""Commands that start, watch and stop servers."""
