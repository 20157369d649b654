"""Which servers tfsctl has started, and their states."""
