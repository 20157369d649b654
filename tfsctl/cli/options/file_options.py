"""The options of `predict` about files: where rows are read from, where answers are written, and how fast.

A command that is decorated with `@takes_file_options` has them all, and receives them as one `FileOptions`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import typer

from tfsctl.cli.options.input_arguments import STDIN
from tfsctl.cli.options.option_groups import option_group
from tfsctl.errors import InvalidInput

# The formats of data/sources.py.
Format = Literal["csv", "tsv", "json", "jsonl", "text", "npy", "npz", "parquet", "tfrecord", "images"]
OnError = Literal["stop", "skip"]


@dataclass(frozen=True, slots=True)
class FileOptions:
    """The values of these options. `file` is None if the rows are typed, or lines of stdin without a --format."""

    file: str | None = None
    output: Path | None = None
    format: Format | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    batch_size: int | None = None
    concurrency: int | None = None
    on_error: OnError = "stop"
    resume: bool = False


def _file_options(
    *,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="Rows from a file (csv, tsv, jsonl, json, txt, npy, npz, parquet, tfrecord), a directory or pattern of "
            "images, or `-` for stdin.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write answers to a .csv, .tsv, .jsonl, .npy or .npz file."
        ),
    ] = None,
    format: Annotated[  # noqa: A002 - the option's name
        Format | None,
        typer.Option("--format", help="The format of --file (default: by its name), or of stdin (default: text)."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="INPUT=COLUMN", help="--file: the column of an input; else that of its name."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, metavar="ROWS", help="--file: rows a request; else found out.")
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", min=1, metavar="N", help="--file: requests at once; else found out.")
    ] = None,
    on_error: Annotated[
        OnError, typer.Option("--on-error", help="--file: what to do with a row that cannot be answered.")
    ] = "stop",
    resume: Annotated[
        bool, typer.Option("--resume", help="--file: go on where an interrupted run of --output ended.")
    ] = False,
) -> FileOptions:
    """Build the options from their values. Raises InvalidInput for combinations without a meaning."""
    if file is None and format is not None:
        file = STDIN
    if file is None:
        needs_file = {
            "--column": column is not None,
            "--batch-size": batch_size is not None,
            "--concurrency": concurrency is not None,
            "--on-error": on_error != "stop",
            "--resume": resume,
        }
        given = [name for name, is_given in needs_file.items() if is_given]
        if given:
            raise InvalidInput(f"{given[0]} is for rows that come from a file", hint="name it with --file FILE")
    if resume and (output is None or file == "-"):
        raise InvalidInput("--resume goes on with an --output from a --file that can be read again")
    if on_error == "skip" and output is None:
        raise InvalidInput("--on-error skip lists the rows it leaves out beside the output", hint="give --output FILE")
    if on_error == "skip" and output is not None and output.suffix.lower() == ".npy":
        raise InvalidInput("a .npy file has no place for the numbers of the rows", hint="give --output NAME.npz")
    return FileOptions(
        file, output, format, dict(map(_column_pair, column or ())), batch_size, concurrency, on_error, resume
    )


def refuse_arguments(inputs: Sequence[str] | None, named: Sequence[str] | None) -> None:
    """Raise InvalidInput if rows are given as arguments as well as with --file, or --format without it (stdin)."""
    if (inputs and list(inputs) != [STDIN]) or named:
        raise InvalidInput(
            f"{(inputs or named or [''])[0]!r} is typed, and --file says where the rows are",
            hint="leave out --file and --format, or what is typed",
        )


def _column_pair(text: str) -> tuple[str, str]:
    """Split `INPUT=COLUMN`. Raises InvalidInput."""
    name, equals, column = text.partition("=")
    if not (name and equals and column):
        raise InvalidInput(f"--column {text}: say INPUT=COLUMN")
    return name, column


takes_file_options = option_group("files", _file_options)
