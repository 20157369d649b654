"""The options --show and --dry-run, which print the request of a command instead of sending it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tfsctl.cli.options.option_groups import intercepting_options
from tfsctl.cli.options.server_options import ServerOptions
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.clients.captured_request import CapturedRequest

Program = Literal["curl", "http", "python", "grpcurl"]


def _show_request(
    command: Callable[..., None],
    values: dict[str, Any],
    *,
    show: Annotated[
        Program | None,
        typer.Option(
            "--show", help="Print a command line or program that sends the same request, instead of sending it."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the request instead of sending it.")] = False,
) -> None:
    """Run a command with a client that raises its request instead of sending it, and print that request.

    The request is captured over the transport that the program speaks. Raises InvalidInput for --file, and for --grpc
    with a program that speaks REST only.
    """
    from tfsctl.clients.captured_request import RequestCaptured

    options: ServerOptions = values["options"]
    if show is not None and dry_run:
        raise InvalidInput("--show and --dry-run cannot be used together", hint="remove one of them")
    if getattr(values.get("files"), "file", None) is not None:
        raise InvalidInput(
            "--show and --dry-run print one request, and a file becomes many",
            hint="remove --file, and give one row as an argument",
        )
    if show in ("curl", "http") and options.transport == "grpc":
        raise InvalidInput(f"{show} supports only REST", hint="remove --grpc, or use --show grpcurl")
    transport = "grpc" if show == "grpcurl" else options.transport
    capturing = replace(options, transport=transport, connection=replace(options.connection, capture_requests=True))
    try:
        command(**{**values, "options": capturing})
    except RequestCaptured as captured:
        _print_request(captured.request, show, as_json=bool(values["as_json"]))


takes_show_options = intercepting_options(_show_request)
"""Gives a command --show and --dry-run. The command must send its request with the client of its `options`."""


def _print_request(request: CapturedRequest, program: Program | None, *, as_json: bool) -> None:
    """Print the request or a snippet for it, and say which environment variables hold its secrets."""
    from tfsctl.cli.output import terminal
    from tfsctl.cli.snippets import plain_request
    from tfsctl.cli.snippets.secrets import without_secrets

    request, variables = without_secrets(request)
    if program is not None:
        terminal.answer(_snippet(request, program))
    elif as_json:
        terminal.answer_json(plain_request.document(request))
    else:
        terminal.answer(plain_request.text(request))
    for variable, what in variables.items():
        terminal.say_note(f"{what} is not shown; set it with: export {variable}=…")


def _snippet(request: CapturedRequest, program: Program) -> str:
    """The command line, or the program, that sends the request."""
    if program == "curl":
        from tfsctl.cli.snippets import curl

        return curl.snippet(request)
    if program == "http":
        from tfsctl.cli.snippets import httpie

        return httpie.snippet(request)
    if program == "grpcurl":
        from tfsctl.cli.snippets import grpcurl

        return grpcurl.snippet(request)
    if request.transport == "grpc":
        from tfsctl.cli.snippets import python_grpc

        return python_grpc.snippet(request)
    from tfsctl.cli.snippets import python_rest

    return python_rest.snippet(request)
