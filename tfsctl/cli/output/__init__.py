"""What commands print: `terminal.py` prints, and the other modules format."""
