"""`tfsctl logs`: print the log of a server."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.options.running_server_options import ServersArgument
from tfsctl.cli.output import terminal
from tfsctl.errors import InvalidInput, NotFound, TfsctlError

if TYPE_CHECKING:
    from tfsctl.engines.registry.server_log import LogSelection

DURATION_PART = re.compile(r"(?<!\d)(\d+(?:\.\d+)?)([smhd])")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def logs(
    names: ServersArgument = None,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep printing new lines until the servers end.")
    ] = False,
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", min=0, metavar="N", help="Print only the last N existing lines.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="TIME", help="Print only lines since a time: 10m, 2h or 1d ago, or 2026-01-31T12:00."
        ),
    ] = None,
    timestamps: Annotated[
        bool, typer.Option("--timestamps", "-t", help="Print the time in UTC before each line.")
    ] = False,
) -> None:
    """Print the logs of servers.

    Logs are kept after the server has ended: the log of a container until `tfsctl stop`, the log of a process until the
    next server with the same name starts. If several servers are named, each line begins with the server's name.

    \b
    Examples:
      tfsctl logs amazon_review --tail 20
      tfsctl logs -f
      tfsctl logs --since 10m --timestamps
      tfsctl logs amazon_review house_price --follow --tail 5
    """
    from tfsctl.engines.registry.server_log import LogSelection

    begin = None if since is None else parse_since(since, now=time.time())
    selection = LogSelection(tail, follow, begin, timestamps)
    names = list(dict.fromkeys(names or ()))
    with ExitStack() as programs:
        if len(names) < 2:
            for line in _log(names[0] if names else None, programs, selection):
                terminal.answer(line)
            return
        # All logs are opened before anything is printed.
        logs_by_name = [(name, _log(name, programs, selection)) for name in names]
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
            terminal.say_note(f"{name} has ended")
    if first_failure is not None:
        raise first_failure


def parse_since(text: str, *, now: float) -> float:
    """The Unix time of a value of --since: a duration before `now`, such as `1h30m`, or a date and time.

    A time without an offset is local. Raises InvalidInput.
    """
    parts = DURATION_PART.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return now - sum(float(number) * SECONDS[unit] for number, unit in parts)
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError, OSError):
        raise InvalidInput(
            f"--since {text!r} is not a duration or a time", hint="use a duration or a time, e.g. --since 10m"
        ) from None


def _log(name: str | None, programs: ExitStack, selection: LogSelection) -> Iterator[str]:
    """The lines of the log of a server, also after its end. Raises NotFound.

    The programs that read logs are stopped with the ExitStack.
    """
    from tfsctl.engines.registry import fleet, server_log
    from tfsctl.engines.registry.tracked_server import ENDED

    try:
        chosen = fleet.choose(name, "logs")[0]
    except NotFound:
        lines = None if name is None else server_log.unrecorded_log(name, selection)
        if lines is None:
            raise
        terminal.say_note(f"{name} is not running; this is the log of its last run")
        return lines
    if chosen.state == ENDED:
        terminal.say_note(f"{chosen.record.name} has ended; this is the log of its last run")
    return server_log.lines(chosen, selection, programs=programs)
