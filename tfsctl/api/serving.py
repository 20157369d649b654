"""`tfsctl.serve`: a model server for as long as a program needs one."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from tfsctl.api.client import Client
from tfsctl.api.connecting import connect
from tfsctl.clients.connection import DEFAULT_TIMEOUT_S
from tfsctl.engines.planning.launch_spec import EngineName
from tfsctl.engines.planning.server_handle import Server

if TYPE_CHECKING:
    from typing_extensions import Self


class Serving:
    """A model server that answers. Stop it, or use it as a context manager; it ends with the process at the latest."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def __repr__(self) -> str:
        return f"<tfsctl.Serving {', '.join(self._server.entry.models)} at {self.grpc_address} and {self.url}>"

    @property
    def grpc_address(self) -> str:
        """Where it answers over gRPC."""
        return self._server.entry.grpc_address

    @property
    def url(self) -> str:
        """Where its REST API is."""
        return self._server.entry.url

    def connect(self, *, model: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S) -> Client:
        """A client for it, over gRPC; `model` need not be named where there is one."""
        models = self._server.entry.models
        return connect(self.grpc_address, model=model or (models[0] if len(models) == 1 else None), timeout_s=timeout_s)

    def stop(self) -> None:
        """End the server."""
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
    """Serve models, and return once they answer. A port of 0 is a free one.

    Raises what `tfsctl serve` ends with: NotFound and InvalidInput for the paths, EngineError where no server comes up,
    NotReadyInTime at the deadline. Nothing is left of it then.
    """
    from tfsctl.engines.planning import serve_plan, serving
    from tfsctl.engines.planning.serve_options import Request

    request = Request(
        paths=tuple(Path(path) for path in paths), name=name, engine=engine, rest_port=rest_port, grpc_port=grpc_port
    )
    planned = serve_plan.plan(request)
    serving.prepare(planned)
    return Serving(serving.start(planned, detach=True, wait_timeout_s=wait_timeout_s))
