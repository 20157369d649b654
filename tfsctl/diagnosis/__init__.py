"""Explains errors: the cause, and a hint."""
