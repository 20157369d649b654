"""Options of commands about a server that tfsctl starts or has started: its name, and how long it may load."""

from __future__ import annotations

from typing import Annotated

import typer

from tfsctl.cli.options.completion import complete_servers

DEFAULT_WAIT_TIMEOUT_S = 60.0

ServerArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[NAME]", autocompletion=complete_servers, help="The name of the server; needed if several are running."
    ),
]
ServersArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME]...",
        autocompletion=complete_servers,
        help="The names of the servers; needed if several are running.",
    ),
]
WaitTimeoutOption = Annotated[
    float,
    typer.Option(
        "--wait-timeout",
        envvar="TFSCTL_WAIT_TIMEOUT",
        min=0.1,
        metavar="SECONDS",
        help="How long to wait for the models to load.",
    ),
]
