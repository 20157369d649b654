"""Publishes a verified version: compares its signatures with the latest version's, and uploads to remote targets."""
