"""Labels of served versions: move them between versions without losing a request."""
