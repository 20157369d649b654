"""Print answers to stdout and messages to stderr. The only module that prints, and the only user of rich.

Text from servers, models and files never controls the terminal: everything that is printed here is escaped
(`core/json_strings.py`) and never interpreted as rich markup. The one exception is `answer_raw` into a pipe or file.
"""

from __future__ import annotations

import errno
import io
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tfsctl.core.json_strings import escape_controls, escape_line_controls
from tfsctl.errors import ExitCode, TfsctlError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress

_LOG_STYLES = {"I": "dim", "W": "yellow", "E": "red", "F": "bold red"}
_WORD_COLOURS = {"error": "1;31", "hint": "36"}  # SGR codes: bold red, cyan
_MIN_FOLDED_WIDTH = 12  # characters; a narrower column is unreadable
SPINNER_DELAY_S = 1.0

verbose = False  # set by the root callback from --verbose


def prepare_streams() -> None:
    """Replace streams that are closed (`>&-`); escape characters that stdout's encoding cannot represent.

    Messages to a closed stderr are dropped. An answer to a closed stdout is an error.
    """
    if sys.stdout is None:
        sys.stdout = _unwritable_stream()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open until the process ends
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _unwritable_stream() -> io.TextIOWrapper:
    """A stream whose first flush fails with EBADF. It takes descriptor 1, which a file or socket would get otherwise."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    if descriptor != 1:
        os.dup2(descriptor, 1)
        os.close(descriptor)
    return open(1, "w", encoding="utf-8", closefd=False)


def say(text: str) -> None:
    """Print one line (progress, a note, a hint) to stderr, escaped."""
    _write_line(escape_controls(text))


def say_note(text: str) -> None:
    """Print a note to stderr, escaped: something that the user should know, but did not ask for."""
    say(f"note: {text}")


def _write_line(text: str) -> None:
    """Write a line to stderr at once: print() writes its end apart, and another thread's line could come in between."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def can_redraw() -> bool:
    """Whether stderr is a terminal that can redraw lines."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


class OutputClosed(Exception):
    """The reader of stdout closed it, as `| head` does."""


@contextmanager
def _stdout_errors() -> Iterator[None]:
    """Wrap writes to stdout. Raises OutputClosed, or TfsctlError if stdout cannot be written."""
    try:
        yield
    except OSError as error:
        drop_output()
        if isinstance(error, BrokenPipeError):
            raise OutputClosed from error
        reason = "stdout is closed" if error.errno == errno.EBADF else error.strerror
        raise TfsctlError(f"cannot write the answer: {reason}") from error
    except ValueError as error:
        if not sys.stdout.closed:
            raise
        raise TfsctlError("cannot write the answer: stdout is closed") from error  # by the user's file of an export


def drop_output() -> None:
    """Discard what stdout still holds: the interpreter flushes it at exit, and would report the failure again."""
    with suppress(OSError, ValueError):  # a stream in memory has no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def answer(text: str) -> None:
    """Print one line of the answer to stdout, escaped."""
    with _stdout_errors():
        sys.stdout.write(f"{escape_controls(text)}\n")  # at once, as in `_write_line`
        sys.stdout.flush()


def answer_lines(lines: bytes) -> None:
    """Print whole lines of UTF-8 text to stdout, escaped."""
    _write_bytes(escape_controls(lines.decode("utf-8", "surrogateescape")).encode())


def answer_raw(content: bytes) -> None:
    """Print bytes unchanged into a pipe or a file. On a terminal, print them escaped, and end them with a newline."""
    if is_interactive():
        answer(content.decode("utf-8", "surrogateescape").removesuffix("\n"))
    else:
        _write_bytes(content)


def _write_bytes(content: bytes) -> None:
    with _stdout_errors():
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.flush()


def is_interactive() -> bool:
    """Whether stdout is a terminal. Otherwise every answer is printed complete, one record per line."""
    return sys.stdout.isatty()


def answer_json(document: object) -> None:
    """Print the answer as one JSON document, with NaN and Infinity as TensorFlow Serving writes them."""
    import json

    answer(json.dumps(document, ensure_ascii=False))


def answer_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows: a table on a terminal (one line per cell if it is too narrow), tab-separated lines otherwise.

    No cell is truncated, so that every value can be copied. If the table is too wide for the terminal, columns without
    any value are dropped, and one column is wrapped: the widest that contains sentences, otherwise the widest.
    """
    if not is_interactive():
        for row in rows:
            answer("\t".join(map(escape_line_controls, row)))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    columns, rows = (
        [escape_controls(column) for column in columns],
        [[escape_controls(cell) for cell in row] for row in rows],
    )
    wrapped = None
    if _table_width(columns, rows) > console.width:
        used = [number for number, cells in enumerate(zip(*rows, strict=True)) if any(cells)]
        columns, rows = [columns[number] for number in used], [[row[number] for number in used] for row in rows]
        excess = _table_width(columns, rows) - console.width
        wrapped = _column_to_wrap(columns, rows, excess)
        if wrapped is None and excess > 0:
            answer("\n\n".join(_record(columns, row) for row in rows))
            return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(Text(column), overflow="fold", no_wrap=number != wrapped)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    with _stdout_errors():
        console.print(table)


def _column_widths(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    """The width of each column in characters."""
    from rich.cells import cell_len

    return [max(map(cell_len, "\n".join(cells).split("\n"))) for cells in zip(columns, *rows, strict=True)]


def _table_width(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """The width of a table in characters, with its borders."""
    return sum(_column_widths(columns, rows)) + 3 * len(columns)


def _column_to_wrap(columns: Sequence[str], rows: Sequence[Sequence[str]], excess: int) -> int | None:
    """The column that can be narrower by `excess` characters and still be read. None if there is no such column."""
    widths = _column_widths(columns, rows)
    by_width = sorted(range(len(columns)), key=widths.__getitem__, reverse=True)
    sentences = [number for number in by_width if any(" " in row[number] for row in rows)]
    enough = (number for number in (*sentences, *by_width) if widths[number] - excess >= _MIN_FOLDED_WIDTH)
    return next(enough, None) if excess > 0 else None


def _record(columns: Sequence[str], row: Sequence[str]) -> str:
    """One row, with one line per cell and per line of a cell."""
    named = [(column, cell.split("\n")) for column, cell in zip(columns, row, strict=True) if cell]
    return "\n".join(f"{column}: {line}".removeprefix(": ") for column, lines in named for line in lines)


def log_line(line: str) -> None:
    """Print a line of a server log to stderr, coloured by its level on a terminal."""
    style = _LOG_STYLES.get(_log_level(line))
    if style is None or not sys.stderr.isatty():
        say(line)
        return
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True, soft_wrap=True).print(Text(escape_controls(line), style))


def _log_level(line: str) -> str:
    """The level letter of a log line (`2026-11-24 09:00:00.5: W file.cc:1] …`, `W0000 …`), or an empty string."""
    found = re.match(r"(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[.,]\d+:? )?([IWEF])(?:\d{4})? ", line)
    return found[1] if found else ""


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Yield a function that reports the current step: as a spinner on a terminal, as one line per step otherwise."""
    if quiet:
        yield lambda _step: None
    elif not can_redraw():
        yield lambda step: say(f"{step} …")
    else:
        from rich.console import Console
        from rich.text import Text

        console = Console(stderr=True)
        with console.status("") as status:
            yield lambda step: status.update(Text(escape_controls(f"{step} …")))


@contextmanager
def waiting(text: str) -> Iterator[None]:
    """Show a spinner with the text and the elapsed time if the block takes longer than a second, on a terminal only."""
    if not can_redraw():
        yield
        return
    shown: list[Progress] = []

    def show() -> None:
        from rich import progress as bars
        from rich.console import Console

        columns = (bars.SpinnerColumn(), bars.TextColumn("{task.description}", markup=False), bars.TimeElapsedColumn())
        shown.append(bars.Progress(*columns, console=Console(stderr=True), transient=True))
        shown[0].add_task(text, total=None)
        shown[0].start()

    timer = threading.Timer(SPINNER_DELAY_S, show)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        for spinner in shown:
            spinner.stop()


@contextmanager
def progress_bar(*, quiet: bool = False) -> Iterator[Callable[[int, float | None], None] | None]:
    """Draw a progress bar, and yield the function that updates it; yield None if stderr is not a terminal.

    The function takes the number of finished rows and their fraction of all rows (0 to 1, or None).
    """
    if quiet or not can_redraw():
        yield None
        return
    from rich import progress as bars
    from rich.console import Console

    start, before = time.monotonic(), None
    columns = (bars.BarColumn(), bars.TaskProgressColumn(), bars.TextColumn("{task.description}"))
    with bars.Progress(*columns, bars.TimeRemainingColumn(), console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=None)

        def show(rows: int, fraction: float | None) -> None:
            nonlocal before
            before = rows if before is None else before
            rate = (rows - before) / max(time.monotonic() - start, 1e-9)
            shown.update(task, description=f"{rows:,} rows  {rate:,.0f} rows/s")
            if fraction is not None:
                shown.update(task, completed=fraction, total=1.0)

        yield show


def report_error(error: TfsctlError) -> int:
    """Print an expected failure as `error:`, `cause:` and `hint:` lines; returns its exit code."""
    if verbose:
        _say_traceback(error)
    for word, text in (("error", error.message), ("cause", error.cause), ("hint", error.hint)):
        if text:
            _write_line(f"{_coloured(word)} {escape_controls(text)}")
    return error.exit_code


def _coloured(word: str) -> str:
    """`error:` in red and `hint:` in cyan, if stderr is a terminal that takes colours."""
    if word not in _WORD_COLOURS or not can_redraw() or os.environ.get("NO_COLOR"):
        return f"{word}:"
    return f"\x1b[{_WORD_COLOURS[word]}m{word}:\x1b[0m"


def report_bug(error: BaseException) -> int:
    """Print an unexpected failure with its traceback; returns 70."""
    _say_traceback(error)
    say("error: this is a bug in tfsctl; please report it with the lines above")
    return ExitCode.BUG


def _say_traceback(error: BaseException) -> None:
    say("".join(traceback.format_exception(error)).rstrip("\n"))
