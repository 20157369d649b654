"""The conversation behind `tfsctl repl`: what a line brings, apart from how it was read and where it is shown."""
