"""`tfsctl logs`: print the log of a server."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Annotated

import typer

from tfsctl.cli.options.running_server_options import ServerNames
from tfsctl.cli.output import terminal
from tfsctl.errors import NotFound, TfsctlError


def logs(
    names: ServerNames = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new lines too, until the servers end.")] = False,
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", min=0, metavar="N", help="Only the last N lines of what is there.")
    ] = None,
) -> None:
    """Print the logs of servers that tfsctl started.

    A log is kept after its server has ended: the log of a container until `tfsctl stop`, the log of a process until the
    next server of its name starts. With several names, each line begins with the name.

    \b
    Examples:
      tfsctl logs amazon_review --tail 20
      tfsctl logs -f
      tfsctl logs amazon_review house_price --follow --tail 5
    """
    names = list(dict.fromkeys(names or ()))
    with ExitStack() as programs:
        if len(names) < 2:
            for line in _log(names[0] if names else None, programs, follow=follow, tail=tail):
                terminal.answer(line)
            return
        # All logs are opened before anything is printed.
        logs_by_name = [(name, _log(name, programs, follow=follow, tail=tail)) for name in names]
        width = max(map(len, names))
        for name, line in _merged(logs_by_name) if follow else _in_order(logs_by_name):
            terminal.answer(f"{name:<{width}} | {line}")


def _in_order(logs_by_name: Sequence[tuple[str, Iterator[str]]]) -> Iterator[tuple[str, str]]:
    """The lines of several logs, one log after the other, with the names of the servers."""
    for name, lines in logs_by_name:
        for line in lines:
            yield name, line


def _merged(logs_by_name: Sequence[tuple[str, Iterator[str]]]) -> Iterator[tuple[str, str]]:
    """The lines of several logs as they are written, with the names of the servers.

    If reading a log fails, the others are followed to their ends first. Raises the first failure.
    """
    arrived: queue.SimpleQueue[tuple[str, str | TfsctlError | None]] = queue.SimpleQueue()

    def read(name: str, lines: Iterator[str]) -> None:
        failure: TfsctlError | None = None
        try:
            for line in lines:
                arrived.put((name, line))
        except TfsctlError as error:
            failure = error
        arrived.put((name, failure))

    for name, lines in logs_by_name:
        threading.Thread(target=read, args=(name, lines), name=f"log of {name}", daemon=True).start()
    first_failure: TfsctlError | None = None
    open_logs = len(logs_by_name)
    while open_logs:
        name, line = arrived.get()
        if isinstance(line, str):
            yield name, line
            continue
        open_logs -= 1
        first_failure = first_failure or line
        if open_logs:
            terminal.say(f"note: {name} has ended")
    if first_failure is not None:
        raise first_failure


def _log(name: str | None, programs: ExitStack, *, follow: bool, tail: int | None) -> Iterator[str]:
    """The lines of the log of a server, also after its end. Raises NotFound.

    The programs that read logs are stopped with the ExitStack.
    """
    from tfsctl.engines.registry import fleet, server_log
    from tfsctl.engines.registry.tracked_server import ENDED

    try:
        chosen = fleet.choose(name, "logs")[0]
    except NotFound:
        lines = None if name is None else server_log.last_run(name, tail=tail)
        if lines is None:
            raise
        terminal.say(f"note: {name} does not run; this is the log of its last run")
        return lines
    if chosen.state == ENDED:
        terminal.say(f"note: {chosen.record.name} has ended; this is the log of its last run")
    return server_log.lines(chosen, tail=tail, follow=follow, programs=programs)
