"""Options of the commands that change labels: which server, a remark for the history, and how long versions may load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.options.completion import complete_models, complete_servers
from tfsctl.clients.connection import PLAIN, Connection
from tfsctl.core.types import DEFAULT_GRPC_PORT
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from tfsctl.rollout.labels.label_changes import ChangeOptions
    from tfsctl.rollout.labels.managed_model import ManagedModel

ModelName = Annotated[
    str, typer.Argument(metavar="NAME", autocompletion=complete_models, help="The name of the model on the server.")
]
Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar="TFSCTL_SERVER",
        metavar="NAME",
        autocompletion=complete_servers,
        help="The server; needed if several serve the model.",
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="The model config file of a server that tfsctl did not start."),
]
Host = Annotated[str, typer.Option("--host", metavar="ADDRESS", help="The address of that server.")]
GrpcPort = Annotated[int, typer.Option("--port", metavar="PORT", help="The gRPC port of that server.")]
Message = Annotated[str, typer.Option("--message", "-m", metavar="TEXT", help="A comment for `tfsctl history`.")]
DEFAULT_HOST, DEFAULT_PORT = "localhost", DEFAULT_GRPC_PORT


def open_model(
    name: str, server: str | None, config: Path | None, host: str, port: int, connection: Connection = PLAIN
) -> ManagedModel:
    """The model that the options name. Raises NotFound, InvalidInput."""
    from tfsctl.rollout.labels.label_changes import find_model

    if config is None and (host, port) != (DEFAULT_HOST, DEFAULT_PORT):
        raise InvalidInput(
            "--host and --port name a server that tfsctl did not start", hint="add --config FILE, its model config file"
        )
    if config is not None and server is not None:
        raise InvalidInput("--server and --config both choose a server", hint="remove one of them")
    return find_model(name, server=server, config_file=config, host=host, grpc_port=port, connection=connection)


def change_options(wait_timeout_s: float, message: str, show_step: Callable[[str], None]) -> ChangeOptions:
    """The options as a value."""
    from tfsctl.rollout.labels.label_changes import ChangeOptions

    return ChangeOptions(wait_timeout_s, message, show_step)
