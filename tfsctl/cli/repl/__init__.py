"""The REPL of `tfsctl repl` and `tfsctl run`: `conversation.py` reads and prints, `line_handler.py` handles one line."""
