"""`--show` and `--dry-run`: the request a command would make, as another program's command line, or as it is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from tfsctl.cli.options.groups import option_group
from tfsctl.cli.options.target import Asked
from tfsctl.clients.captured_request import RequestCaptured
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.clients.captured_request import CapturedRequest

Program = Literal["curl", "http", "python", "grpcurl"]


@dataclass(frozen=True, slots=True)
class Showing:
    """What is to be shown in the place of an answer: a program's way to ask, or (None) the request itself."""

    program: Program | None

    def applied(self, asked: Asked) -> Asked:
        """What was asked, over the transport of the program, and with nothing sent. Raises InvalidInput over another."""
        if self.program in ("curl", "http") and asked.transport == "grpc":
            raise InvalidInput(f"{self.program} speaks REST", hint="leave out --grpc, or --show grpcurl")
        transport = "grpc" if self.program == "grpcurl" else asked.transport
        return replace(asked, transport=transport, connection=replace(asked.connection, capture_requests=True))


def can_show(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command --show and --dry-run. It must ask through the client of its parameter `asked`."""

    @functools.wraps(command)
    def run(*, showing: Showing | None, asked: Asked, **given: Any) -> None:  # noqa: ANN401 - the values of any option
        if showing is None:
            command(asked=asked, **given)
            return
        if getattr(given.get("files"), "file", None) is not None:
            raise InvalidInput("a file becomes many requests", hint="leave out --file, and type a row")
        try:
            command(asked=showing.applied(asked), **given)
        except RequestCaptured as captured:
            _show(captured.request, showing.program, as_json=given["as_json"])

    return option_group("showing", _showing)(run)


def _showing(
    *,
    show: Annotated[
        Program | None,
        typer.Option("--show", help="Print the command line or program that asks the same, instead of asking."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the request, instead of sending it.")] = False,
) -> Showing | None:
    if show is not None and dry_run:
        raise InvalidInput("--show and --dry-run both print in the place of asking", hint="give one of them")
    return Showing(show) if show is not None or dry_run else None


def _show(call: CapturedRequest, program: Program | None, *, as_json: bool) -> None:
    """Print the call, and say which variables a secret was left to."""
    from importlib import import_module

    from tfsctl.cli.output import terminal
    from tfsctl.cli.snippets import request
    from tfsctl.cli.snippets.secrets import without_secrets

    call, variables = without_secrets(call)
    if program is not None:
        terminal.answer(import_module(f"tfsctl.cli.snippets.{program}").shown(call))
    elif as_json:
        terminal.answer_json(request.document(call))
    else:
        terminal.answer(request.shown(call))
    for variable, what in variables.items():
        terminal.say(f"note: {what} is not shown; export {variable}=…")
