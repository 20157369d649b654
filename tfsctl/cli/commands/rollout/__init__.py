"""Commands that compare, label and roll out versions."""
