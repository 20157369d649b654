"""Command-line options that several commands share: their names, help texts, variables and the values they become.

The annotation of one option is named after it and ends in `Option` or, for a positional argument, `Argument`.
"""
