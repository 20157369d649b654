"""Commands that write model versions."""
