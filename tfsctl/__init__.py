"""tfsctl takes a TensorFlow model from a Python file to answers: export, serve, query."""

from importlib.metadata import version as _version

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    if name == "__version__":
        return _version("tfsctl")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
