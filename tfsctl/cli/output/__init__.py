"""The output of commands: `terminal.py` prints, and the other modules format."""
