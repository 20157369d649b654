"""Which servers tfsctl has started, and what they are doing."""
