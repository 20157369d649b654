"""`tfsctl stop`: stop servers that tfsctl started."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.options.output_options import JsonOption
from tfsctl.cli.options.running_server_options import ServersArgument
from tfsctl.cli.output import terminal
from tfsctl.errors import InvalidInput, TfsctlError
from tfsctl.programs.processes import STOP_GRACE_S

if TYPE_CHECKING:
    from tfsctl.engines.server_record import ServerRecord

SLOW_S = 2.0


def stop(
    names: ServersArgument = None,
    *,
    stop_all: Annotated[bool, typer.Option("--all", help="Stop all servers that tfsctl started.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Stop servers.

    Returns when the servers have ended. Containers are removed, including those that had ended before. Servers that
    tfsctl did not start are never stopped.

    \b
    Examples:
      tfsctl stop amazon_review
      tfsctl stop amazon_review house_price
      tfsctl stop --all
    """
    from tfsctl.engines.registry import fleet

    if stop_all and names:
        raise InvalidInput(
            "--all and server names cannot be used together", hint=f"run tfsctl stop {shlex.join(names)}"
        )
    chosen = fleet.servers() if stop_all else fleet.choose_all(names or (), "stop")
    from tfsctl.engines.planning import server_control  # not needed to find that there is no such server

    stopped: list[str] = []
    failure: TfsctlError | None = None
    for each in chosen:
        try:
            with _note_if_slow(each.record):
                server_control.stop(each.record)
                if each.is_front:
                    _clean_up_front(each.record.name)
        except TfsctlError as error:  # the remaining servers are stopped first
            failure = failure or error
            continue
        stopped.append(each.record.name)
        if not as_json:
            ended = f"removed {each.record.name}, which had ended"
            terminal.answer(ended if each.is_left_over else f"stopped {each.record.name}")
    if as_json:
        terminal.answer_json({"stopped": stopped})
    elif not stopped and failure is None:
        terminal.say("no servers are running")
    if failure is not None:
        raise failure


def _clean_up_front(name: str) -> None:
    """Stop the processes of a front that was killed, and remove its state."""
    from tfsctl.rollout.front import children

    children.clean_up(name)


@contextmanager
def _note_if_slow(server: ServerRecord) -> Iterator[None]:
    """Print a note if stopping the server takes longer than SLOW_S."""
    what = f"process {server.pid}" if server.container is None else f"container {server.container[:12]}"
    note = f"waiting for {what} of {server.name} to end; it is killed after {STOP_GRACE_S:.0f} s"
    timer = threading.Timer(SLOW_S, terminal.say, [note])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
