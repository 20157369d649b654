"""`tfsctl warmup`: write the warmup requests of a published version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tfsctl.cli.options.output_options import JsonOption


def warmup(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH", help="The directory of a model (its latest version is used), or of one version."
        ),
    ],
    requests: Annotated[
        str,
        typer.Argument(
            metavar="auto|FILE",
            help="A file of requests or rows, or `auto` to make requests for the signatures.",
        ),
    ] = "auto",
    *,
    as_json: JsonOption = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only the result: no progress and no notes.")
    ] = False,
) -> None:
    """Add requests that servers run when they load a version.

    Each request is first run on the model. If one fails, nothing is written. The requests are written to
    assets.extra/tf_serving_warmup_requests in the version's directory. A server runs them when it loads the version;
    servers that have already loaded it do not read them again.

    \b
    FILE is one of
      requests.jsonl      one REST request body, or one row, per line
      requests.tfrecord   a recording: PredictionLog records, or a directory of such files
      rows.csv            rows of the default signature, in any format that predict --file reads

    \b
    Examples:
      tfsctl warmup ./amazon_review
      tfsctl warmup ./amazon_review/1795344751 requests.jsonl
    """
    from tfsctl.cli.output import terminal
    from tfsctl.exporter.warmup.published_version import warm_up_version

    with terminal.progress(quiet=quiet or as_json) as report:
        version, count = warm_up_version(path, requests, report=report)
    if as_json:
        terminal.answer_json({"path": str(version), "warmup_requests": count})
        return
    terminal.answer(f"path: {version}")
    terminal.answer(f"warmup requests: {count}")
    if not quiet:
        terminal.say_note("a server runs them when it loads the version")
