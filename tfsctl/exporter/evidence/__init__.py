"""The parts of a version's manifest besides the results of checks: provenance, features, row operations."""
