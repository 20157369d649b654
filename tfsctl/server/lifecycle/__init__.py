"""The lifecycle of model versions: finding them on disk, checking, loading, warming up, unloading."""
