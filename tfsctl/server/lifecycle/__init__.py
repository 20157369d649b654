"""Versions of models: found on disk, loaded, warmed up, made available and unloaded."""
