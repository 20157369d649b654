"""The options of a command that takes its rows from files and writes answers to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import typer

from tfsctl.cli.options.groups import option_group
from tfsctl.errors import InvalidInput

Format = Literal[
    "csv", "tsv", "json", "jsonl", "lines", "npy", "npz", "parquet", "tfrecord", "images"
]  # data.sources has
OnError = Literal["stop", "skip"]


@dataclass(frozen=True, slots=True)
class Files:
    """What the options say of files: `file` is where the rows are, None where they are typed."""

    file: str | None = None
    output: Path | None = None
    format: Format | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    batch_size: int | None = None
    concurrency: int | None = None
    on_error: OnError = "stop"
    resume: bool = False


def _files(
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
        Format | None, typer.Option("--format", help="What --file holds, if its name does not tell.")
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
) -> Files:
    """What the options say. Raises InvalidInput for ones that have no meaning together."""
    if file is None:
        own = {"--format": format, "--column": column, "--batch-size": batch_size, "--concurrency": concurrency}
        said = [name for name, value in own.items() if value is not None]
        said += ["--on-error"] * (on_error != "stop") + ["--resume"] * resume
        if said:
            raise InvalidInput(f"{said[0]} is for rows that come from a file", hint="name it with --file FILE")
    if resume and (output is None or file == "-"):
        raise InvalidInput("--resume goes on with an --output from a --file that can be read again")
    if on_error == "skip" and output is None:
        raise InvalidInput("--on-error skip lists the rows it leaves out beside the output", hint="give --output FILE")
    if on_error == "skip" and output is not None and output.suffix.lower() == ".npy":
        raise InvalidInput("a .npy file has no place for the numbers of the rows", hint="give --output NAME.npz")
    return Files(file, output, format, dict(map(_pair, column or ())), batch_size, concurrency, on_error, resume)


def refuse_typed(inputs: Sequence[str] | None, named: Sequence[str] | None) -> None:
    """Raise InvalidInput where rows are both typed and in a file."""
    if inputs or named:
        raise InvalidInput(f"{(inputs or named or [''])[0]!r} is typed, and --file says where the rows are")


def _pair(text: str) -> tuple[str, str]:
    name, equals, column = text.partition("=")
    if not (name and equals and column):
        raise InvalidInput(f"--column {text}: say INPUT=COLUMN")
    return name, column


takes_files = option_group("files", _files)
