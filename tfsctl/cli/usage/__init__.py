"""Help and usage errors: how options are grouped and printed, and what a mistyped command line is told."""
