"""The options of `predict` about files: where rows are read from, where answers are written, and how fast.

A command that is decorated with `@takes_file_options` has them all, and receives them as one `FileOptions`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tfsctl.cli.options.input_arguments import STDIN
from tfsctl.cli.options.option_groups import option_group
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:  # most predictions read no file
    from tfsctl.data.csv_format import TextFormat

# The formats of data/sources.py.
Format = Literal["csv", "tsv", "json", "jsonl", "text", "npy", "npz", "parquet", "tfrecord", "images", "recording"]
OnError = Literal["stop", "skip"]
Decimal = Literal[".", ","]


@dataclass(frozen=True, slots=True)
class FileOptions:
    """The values of these options.

    `file` is None if the rows are typed, or lines of stdin without an option for them. `text_format` is None if none of
    the options is given.
    """

    file: str | None = None
    output: Path | None = None
    format: Format | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    batch_size: int | None = None
    concurrency: int | None = None
    on_error: OnError = "stop"
    resume: bool = False
    text_format: TextFormat | None = None
    keep: tuple[str, ...] = ()
    safe_csv: bool = False


ColumnsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="INPUT=COLUMN",
        help="Read an input from this column (default: the column with the input's name). May be repeated.",
    ),
]
BatchSizeOption = Annotated[
    int | None,
    typer.Option("--batch-size", min=1, metavar="ROWS", help="Rows per request (default: tuned automatically)."),
]
ConcurrencyOption = Annotated[
    int | None,
    typer.Option("--concurrency", min=1, metavar="N", help="Concurrent requests (default: tuned automatically)."),
]


def _file_options(
    *,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            "-f",
            metavar="FILE",
            help="Read rows from a file (csv, tsv, jsonl, json, txt, npy, npz, parquet, tfrecord), from a "
            "directory or glob pattern of images, or from stdin (`-`).",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the predictions to a .csv, .tsv, .jsonl, .npy or .npz file (default: stdout).",
        ),
    ] = None,
    format: Annotated[  # noqa: A002 - the option's name
        Format | None,
        typer.Option("--format", help="The format of --file (default: by its extension) or of stdin (default: text)."),
    ] = None,
    column: ColumnsOption = None,
    batch_size: BatchSizeOption = None,
    concurrency: ConcurrencyOption = None,
    on_error: Annotated[
        OnError, typer.Option("--on-error", help="Whether to stop at a row without a prediction, or to skip it.")
    ] = "stop",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run after the last prediction that it wrote.")
    ] = False,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep",
            metavar="COLUMN",
            help="Copy columns of the input to the output: NAME, A,B or all. May be repeated.",
        ),
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(
            "--delimiter", metavar="CHAR", help="CSV: the character between cells, or `tab` (default: detected)."
        ),
    ] = None,
    decimal: Annotated[
        Decimal | None,
        typer.Option("--decimal", metavar="CHAR", help="CSV: the decimal mark, `.` or `,` (default: detected)."),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(
            "--encoding",
            metavar="NAME",
            help="The encoding of text files, such as cp1252, latin-1 or utf-16 (default: utf-8, or that of "
            "the byte order mark).",
        ),
    ] = None,
    no_header: Annotated[
        bool, typer.Option("--no-header", help="CSV: treat the first line as data. Columns are then named 1, 2, …")
    ] = False,
    missing: Annotated[
        list[str] | None,
        typer.Option("--na", metavar="TEXT", help="CSV: treat cells with this text as missing (NaN). May be repeated."),
    ] = None,
    safe_csv: Annotated[
        bool,
        typer.Option(
            "--safe-csv", help="Prefix text that a spreadsheet would run as a formula, in .csv and .tsv output."
        ),
    ] = False,
) -> FileOptions:
    """Build the options from their values. Raises InvalidInput for combinations without a meaning."""
    from tfsctl.data.csv_format import DEFAULT_FORMAT, TextFormat, parse_delimiter, parse_encoding

    text_format = TextFormat(
        delimiter=None if delimiter is None else parse_delimiter(delimiter),
        decimal=decimal,
        encoding=None if encoding is None else parse_encoding(encoding),
        has_header=not no_header,
        missing=frozenset(text.strip() for text in missing or ()),
    )
    if file is None and (format is not None or text_format != DEFAULT_FORMAT):
        file = STDIN
    if file is None:
        needs_file = {
            "--column": column is not None,
            "--batch-size": batch_size is not None,
            "--concurrency": concurrency is not None,
            "--on-error": on_error != "stop",
            "--resume": resume,
            "--keep": keep is not None,
        }
        typed = [name for name, is_typed in needs_file.items() if is_typed]
        if typed:
            raise InvalidInput(f"{typed[0]} needs rows from a file", hint="add --file FILE")
    if resume and (output is None or file == "-"):
        raise InvalidInput("--resume needs --output, and a --file that can be read again (not stdin)")
    if on_error == "skip" and output is None:
        raise InvalidInput(
            "--on-error skip writes the skipped rows to a file next to the output", hint="add --output FILE"
        )
    if on_error == "skip" and output is not None and output.suffix.lower() == ".npy":
        raise InvalidInput(
            "--on-error skip needs the row numbers, which a .npy file cannot hold", hint="use --output NAME.npz"
        )
    if safe_csv and (output is None or output.suffix.lower() not in (".csv", ".tsv")):
        raise InvalidInput("--safe-csv needs a .csv or .tsv file as --output", hint="add --output NAME.csv")
    return FileOptions(
        file,
        output,
        format,
        dict(map(parse_column_pair, column or ())),
        batch_size,
        concurrency,
        on_error,
        resume,
        text_format,
        tuple(keep or ()),
        safe_csv,
    )


def refuse_arguments(inputs: Sequence[str] | None, named: Sequence[str] | None) -> None:
    """Raise InvalidInput if rows are given as arguments as well as with --file, or --format without it (stdin)."""
    if (inputs and list(inputs) != [STDIN]) or named:
        raise InvalidInput(
            f"{(inputs or named or [''])[0]!r} is an argument, but --file or --format reads the rows from a file or stdin",
            hint="remove the argument, or remove --file and --format",
        )


def parse_column_pair(text: str) -> tuple[str, str]:
    """Split `INPUT=COLUMN`. Raises InvalidInput."""
    name, equals, column = text.partition("=")
    if not (name and equals and column):
        raise InvalidInput(f"--column {text} is not of the form INPUT=COLUMN")
    return name, column


takes_file_options = option_group("files", _file_options, unset=FileOptions())
