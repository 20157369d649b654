"""What a command prints and where: the answer on stdout, the talk on stderr. The only user of rich.

Text that users or servers wrote (names, shapes, messages) is never read as rich markup.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tfsctl.errors import ExitCode, TfsctlError

if TYPE_CHECKING:
    from collections.abc import Callable

verbose = False  # set by the root callback from --verbose


def say(text: str) -> None:
    """Print one line of talk (progress, notes, hints) to stderr."""
    print(text, file=sys.stderr, flush=True)


def answer(text: str) -> None:
    """Print one line of the answer to stdout."""
    print(text, flush=True)


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
        table.add_column(column)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """A step reporter for long work: a spinner with the current step on a terminal, a line a step elsewhere."""
    if quiet:
        yield lambda _step: None
    elif not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda step: say(f"{step} …")
    else:
        from rich.console import Console
        from rich.text import Text

        console = Console(stderr=True)
        with console.status("") as status:
            yield lambda step: status.update(Text(f"{step} …"))


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
