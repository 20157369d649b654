"""Help and usage errors: how options are grouped and printed, and the errors for mistyped command lines."""
