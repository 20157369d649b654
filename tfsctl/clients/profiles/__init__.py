"""Profiles of remote servers in the user's config file: `profile_file.py` reads them."""
