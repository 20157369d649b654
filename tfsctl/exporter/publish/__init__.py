"""What stands between a verified version and its publication: the comparison with the latest one, and remote targets."""
