"""What an error means: its cause, and what to do next."""
