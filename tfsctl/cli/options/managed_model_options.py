"""The options of `label`, `promote` and `rollback` that choose the model whose labels change.

A command that is decorated with `@takes_managed_model_options` has the options of a server, and receives them as one
`ManagedModelOptions`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.options.completion import complete_models, complete_servers
from tfsctl.cli.options.connection_options import takes_connection_options
from tfsctl.cli.options.option_groups import option_group
from tfsctl.clients.connection import Connection
from tfsctl.core.types import DEFAULT_GRPC_PORT
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.rollout.labels.managed_model import ManagedModel

DEFAULT_HOST = "localhost"

ModelArgument = Annotated[
    str, typer.Argument(metavar="NAME", autocompletion=complete_models, help="The name of the model on the server.")
]
MessageOption = Annotated[str, typer.Option("--message", "-m", metavar="TEXT", help="A comment for `tfsctl history`.")]


@dataclass(frozen=True, slots=True)
class ManagedModelOptions:
    """The values of these options.

    `config` is the model config file of a server that tfsctl did not start, whose gRPC API is at `host` and `port`.
    """

    server: str | None
    config: Path | None
    host: str
    port: int
    connection: Connection

    @property
    def is_tfsctl_server(self) -> bool:
        """Whether the model is on a server that tfsctl started, as far as the options tell."""
        return self.config is None and (self.host, self.port) == (DEFAULT_HOST, DEFAULT_GRPC_PORT)

    def find_model(self, name: str) -> ManagedModel:
        """Find the model on the server that the options choose. Raises NotFound, InvalidInput."""
        from tfsctl.rollout.labels.label_changes import find_model

        if self.config is None and not self.is_tfsctl_server:
            raise InvalidInput(
                "--host and --port name a server that tfsctl did not start",
                hint="add --config FILE, its model config file",
            )
        if self.config is not None and self.server is not None:
            raise InvalidInput("--server and --config both choose a server", hint="remove one of them")
        return find_model(
            name,
            server=self.server,
            config_file=self.config,
            host=self.host,
            grpc_port=self.port,
            connection=self.connection,
        )


@takes_connection_options
def _managed_model_options(
    *,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            envvar="TFSCTL_SERVER",
            metavar="NAME",
            autocompletion=complete_servers,
            help="The server; needed if several serve the model.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="The model config file of a server that tfsctl did not start."),
    ] = None,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="The address of that server.")] = DEFAULT_HOST,
    port: Annotated[
        int, typer.Option("--port", metavar="PORT", help="The gRPC port of that server.")
    ] = DEFAULT_GRPC_PORT,
    connection: Connection,
) -> ManagedModelOptions:
    return ManagedModelOptions(server, config, host, port, connection)


takes_managed_model_options = option_group("options", _managed_model_options)
