"""tfsctl takes a TensorFlow model from a Python file to answers: export, serve, query."""

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version("tfsctl")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
