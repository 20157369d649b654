"""What the manifest of a version records besides the results of its checks: provenance, features, row operations."""
