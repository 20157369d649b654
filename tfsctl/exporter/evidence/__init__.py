"""Evidence about a version: its provenance, and whether its operations can let rows affect each other."""
