"""Options about one request: --signature, --input, --text and --raw. Their values are checked against the model later."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import typer

from tfsctl.cli.options.completion import matching_names
from tfsctl.cli.options.server_options import server_options_of
from tfsctl.cli.options.target import find_target

COMPLETION_TIMEOUT_S = 1.0


def complete_signatures(ctx: typer.Context, incomplete: str) -> list[str]:
    """The signatures of the model that the other options on the command line choose."""
    return matching_names(incomplete, lambda: _signature_names(ctx))


def _signature_names(ctx: typer.Context) -> Iterable[str]:
    from tfsctl.engines.registry import records

    options = server_options_of(ctx, timeout=COMPLETION_TIMEOUT_S)
    target = find_target(options, records.running())
    with target.connect() as client:
        return client.metadata(target.model).signatures


SignatureOption = Annotated[
    str | None,
    typer.Option(
        "--signature",
        envvar="TFSCTL_SIGNATURE",
        metavar="NAME",
        autocompletion=complete_signatures,
        help="The name of the signature (default: serving_default, or the only one).",
    ),
]
SignaturesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--signature",
        metavar="NAME",
        autocompletion=complete_signatures,
        help="The signature to run; needed if several fit. May be repeated.",
    ),
]
NamedInputsOption = Annotated[
    list[str] | None,
    typer.Option(
        "-i",
        "--input",
        metavar="NAME=VALUE",
        help="The value of one input; NAME=@FILE reads it from a file. May be repeated.",
    ),
]
TextOption = Annotated[
    bool, typer.Option("--text", help="Send each INPUT and each -i value as text; do not parse JSON or NAME=VALUE.")
]
ExampleOption = Annotated[
    bool,
    typer.Option(
        "--example",
        help="Build a tf.Example from FEATURE=VALUE, for a signature that parses tf.Examples (default: detected).",
    ),
]
StdinFormat = Literal["text", "jsonl", "json"]
StdinFormatOption = Annotated[
    StdinFormat | None,
    typer.Option("--format", help="The format of stdin: one example per line, or one JSON document (default: text)."),
]
RawOption = Annotated[
    bool, typer.Option("--raw", help="Send INPUT as the body of a REST request, and print the response body unchanged.")
]
