"""Turns a model in any form into a verified, numbered SavedModel version. Start reading in `pipeline`."""
