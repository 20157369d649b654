"""Shadows: copies of live requests are sent to two versions by a collector process, and their answers are compared."""
