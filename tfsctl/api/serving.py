"""`serve`: start a model server that ends with the program, and `Serving`, the running server."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from tfsctl.api.client import Client
from tfsctl.api.connecting import connect
from tfsctl.clients.connection import DEFAULT_TIMEOUT_S
from tfsctl.engines.launch_spec import EngineName
from tfsctl.engines.planning.server_handle import ServerHandle

if TYPE_CHECKING:
    from typing_extensions import Self


class Serving:
    """A running model server. Stop it, or use it as a context manager; it ends with the process at the latest."""

    def __init__(self, server: ServerHandle) -> None:
        self._server = server

    def __repr__(self) -> str:
        return f"<tfsctl.Serving {', '.join(self._server.record.models)} at {self.grpc_address} and {self.url}>"

    @property
    def grpc_address(self) -> str:
        """The gRPC address, `host:port`."""
        return self._server.record.grpc_address

    @property
    def url(self) -> str:
        """The base URL of the REST API."""
        return self._server.record.url

    def connect(self, *, model: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S) -> Client:
        """Return a gRPC client for the server (default for `model`: the only model of the server)."""
        models = self._server.record.models
        return connect(self.grpc_address, model=model or (models[0] if len(models) == 1 else None), timeout_s=timeout_s)

    def stop(self) -> None:
        """Stop the server."""
        self._server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.stop()


def serve(
    *paths: str | os.PathLike[str],
    engine: EngineName | Literal["auto"] = "auto",
    name: str | None = None,
    rest_port: int = 0,
    grpc_port: int = 0,
    wait_timeout_s: float = 60.0,
) -> Serving:
    """Start a model server, and return once all models are ready. Port 0 (default) chooses a free port.

    Raises NotFound or InvalidInput for invalid paths, EngineError if the server does not start, and NotReadyInTime
    if a model is not ready after `wait_timeout_s` seconds. No server is left running after an error.
    """
    from tfsctl.engines.planning import serve_plan, server_control
    from tfsctl.engines.planning.serve_options import ServeOptions

    request = ServeOptions(
        paths=tuple(Path(path) for path in paths), name=name, engine=engine, rest_port=rest_port, grpc_port=grpc_port
    )
    planned = serve_plan.make_plan(request)
    server_control.prepare(planned)
    return Serving(server_control.start(planned, detach=True, wait_timeout_s=wait_timeout_s))
