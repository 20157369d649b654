"""Commands that start, stop and list model servers."""
