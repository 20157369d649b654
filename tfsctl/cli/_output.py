"""What a command prints and where: the answer on stdout, the talk on stderr. The only user of rich.

Text that users or servers wrote (names, shapes, messages) is never read as rich markup.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tfsctl.errors import ExitCode, TfsctlError

if TYPE_CHECKING:
    from collections.abc import Callable

_LOG_STYLES = {"I": "dim", "W": "yellow", "E": "red", "F": "bold red"}

verbose = False  # set by the root callback from --verbose


def say(text: str) -> None:
    """Print one line of talk (progress, notes, hints) to stderr."""
    print(text, file=sys.stderr, flush=True)


def on_terminal() -> bool:
    """Whether talk goes to a terminal that can show more than lines."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def answer(text: str) -> None:
    """Print one line of the answer to stdout."""
    print(text, flush=True)


def answer_bytes(content: bytes) -> None:
    """Print an answer as it is; on a terminal it ends with its line."""
    sys.stdout.flush()
    sys.stdout.buffer.write(content + b"\n" * (answers_people() and not content.endswith(b"\n")))
    sys.stdout.flush()


def answers_people() -> bool:
    """Whether people read the answer; programs get all of it, a record a line."""
    return sys.stdout.isatty()


def answer_json(document: object) -> None:
    """Print the answer as one JSON document; NaN and Infinity as TensorFlow Serving writes them."""
    print(json.dumps(document, ensure_ascii=False), flush=True)


def answer_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows: a table with a header on a terminal, tab-separated lines without one elsewhere."""
    if not sys.stdout.isatty():
        for row in rows:
            answer("\t".join(row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")  # what is cut off cannot be copied
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def log_line(line: str) -> None:
    """Print a line of a server's log to stderr, on a terminal coloured by its level."""
    style = _LOG_STYLES.get(_log_level(line))
    if style is None or not sys.stderr.isatty():
        say(line)
        return
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True, soft_wrap=True).print(Text(line, style))


def _log_level(line: str) -> str:
    """The letter of the level of a line: `2026-11-24 09:00:00.5: W file.cc:1] …`, `W0000 …`; empty where there is none."""
    found = re.match(r"(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[.,]\d+:? )?([IWEF])(?:\d{4})? ", line)
    return found[1] if found else ""


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """A step reporter for long work: a spinner with the current step on a terminal, a line a step elsewhere."""
    if quiet:
        yield lambda _step: None
    elif not on_terminal():
        yield lambda step: say(f"{step} …")
    else:
        from rich.console import Console
        from rich.text import Text

        console = Console(stderr=True)
        with console.status("") as status:
            yield lambda step: status.update(Text(f"{step} …"))


@contextmanager
def progress_bar(*, quiet: bool = False) -> Iterator[Callable[[int, float | None], None]]:
    """A bar for rows on a terminal, nothing elsewhere: told how many are done, and which part of all that is (0 to 1)."""
    if quiet or not on_terminal():
        yield lambda _rows, _part: None
        return
    from rich import progress as bars
    from rich.console import Console

    start, before = time.monotonic(), None
    columns = (bars.BarColumn(), bars.TaskProgressColumn(), bars.TextColumn("{task.description}"))
    with bars.Progress(*columns, bars.TimeRemainingColumn(), console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=None)

        def show(rows: int, part: float | None) -> None:
            nonlocal before
            before = rows if before is None else before
            rate = (rows - before) / max(time.monotonic() - start, 1e-9)
            shown.update(task, description=f"{rows:,} rows  {rate:,.0f} rows/s")
            if part is not None:
                shown.update(task, completed=part, total=1.0)

        yield show


def report(error: TfsctlError) -> int:
    """Print an expected failure as `error:`, `cause:` and `hint:` lines; returns its exit code."""
    if verbose:
        traceback.print_exception(error)
    say(f"error: {error.message}")
    if error.cause:
        say(f"cause: {error.cause}")
    if error.hint:
        say(f"hint: {error.hint}")
    return error.exit_code


def report_bug(error: BaseException) -> int:
    """Print an unexpected failure with its traceback; returns 70."""
    traceback.print_exception(error)
    say("error: this is a bug in tfsctl; please report it with the lines above")
    return ExitCode.BUG
