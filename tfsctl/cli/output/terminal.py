"""What a command prints and where: the answer on stdout, the talk on stderr. The only user of rich.

Text that users or servers wrote (names, shapes, messages) is never read as rich markup.
"""

from __future__ import annotations

import io
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
_LEAST_FOLDED = 12  # columns of text that can still be read

verbose = False  # set by the root callback from --verbose


def prepare_streams() -> None:
    """Give output that was closed (`>&-`) a place to go, and have characters escaped that stdout's encoding lacks."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - as long as the process
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Print one line of talk (progress, notes, hints) to stderr."""
    print(text, file=sys.stderr, flush=True)


def on_terminal() -> bool:
    """Whether talk goes to a terminal that can show more than lines."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class NobodyReads(Exception):
    """The reader of the answer went away, as `| head` does."""


@contextmanager
def _written() -> Iterator[None]:
    """What writes to stdout. Raises NobodyReads, and TfsctlError where nothing more can be written."""
    try:
        yield
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what the interpreter writes at its end
        if isinstance(error, BrokenPipeError):
            raise NobodyReads from error
        raise TfsctlError(f"cannot write the answer: {error.strerror}") from error


def answer(text: str) -> None:
    """Print one line of the answer to stdout."""
    with _written():
        print(text, flush=True)


def answer_bytes(content: bytes) -> None:
    """Print an answer as it is; on a terminal it ends with its line."""
    with _written():
        sys.stdout.flush()
        sys.stdout.buffer.write(content + b"\n" * (answers_people() and not content.endswith(b"\n")))
        sys.stdout.flush()


def answers_people() -> bool:
    """Whether people read the answer; programs get all of it, a record a line."""
    return sys.stdout.isatty()


def answer_json(document: object) -> None:
    """Print the answer as one JSON document; NaN and Infinity as TensorFlow Serving writes them."""
    answer(json.dumps(document, ensure_ascii=False))


def answer_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows: a table with a header on a terminal, or where that is too narrow a line a cell; elsewhere a line a row.

    Nothing is cut off, for it could not be copied then: the widest column is folded.
    """
    if not answers_people():
        for row in rows:
            answer("\t".join(row))
        return
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    widths = [max(map(cell_len, "\n".join(cells).split("\n"))) for cells in zip(columns, *rows, strict=True)]
    widest = max(widths, default=0)
    borders = 3 * len(columns)
    if console.width - borders - sum(widths) + widest < min(widest, _LEAST_FOLDED):
        answer("\n\n".join(_record(columns, row) for row in rows))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column, width in zip(columns, widths, strict=True):
        table.add_column(column, overflow="fold", no_wrap=width < widest)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    with _written():
        console.print(table)


def _record(columns: Sequence[str], row: Sequence[str]) -> str:
    """A row with a line for each of its cells, and for each line of those."""
    named = [(column, cell.split("\n")) for column, cell in zip(columns, row, strict=True) if cell]
    return "\n".join(f"{column}: {line}".removeprefix(": ") for column, lines in named for line in lines)


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
