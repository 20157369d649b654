"""Export, serve and query TensorFlow models from Python.

    with tfsctl.connect("localhost:8500", model="amazon_review") as client:
        client.predict({"text": ["This movie is great! :D"]})

Names are imported on first use, so that `import tfsctl` is fast.
"""

TYPE_CHECKING = False  # type checkers assume True; importing `typing` would take longer than the rest of this module

if TYPE_CHECKING:
    from tfsctl.api.async_client import AsyncClient
    from tfsctl.api.client import Client
    from tfsctl.api.connecting import connect, connect_async
    from tfsctl.api.serving import Serving, serve
    from tfsctl.errors import (
        InvalidInput,
        NotFound,
        NotReadyInTime,
        RequestRejected,
        ServerUnreachable,
        TfsctlError,
    )
    from tfsctl.exporter.pipeline import export_model

    __version__: str

_MODULES = {
    "AsyncClient": "tfsctl.api.async_client",
    "Client": "tfsctl.api.client",
    "InvalidInput": "tfsctl.errors",
    "NotFound": "tfsctl.errors",
    "NotReadyInTime": "tfsctl.errors",
    "RequestRejected": "tfsctl.errors",
    "ServerUnreachable": "tfsctl.errors",
    "Serving": "tfsctl.api.serving",
    "TfsctlError": "tfsctl.errors",
    "connect": "tfsctl.api.connecting",
    "connect_async": "tfsctl.api.connecting",
    "export_model": "tfsctl.exporter.pipeline",
    "serve": "tfsctl.api.serving",
}

__all__ = [
    "AsyncClient",
    "Client",
    "InvalidInput",
    "NotFound",
    "NotReadyInTime",
    "RequestRejected",
    "ServerUnreachable",
    "Serving",
    "TfsctlError",
    "__version__",
    "connect",
    "connect_async",
    "export_model",
    "serve",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name == "__version__":
        from importlib.metadata import version

        return version("tfsctl")
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
