"""`tfsctl compare`: send the same rows to two versions, and say whether the second one is good enough."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.options.comparison_options import (
    DEFAULT_ATOL,
    DEFAULT_MIN_ROWS,
    DEFAULT_RTOL,
    AtolOption,
    FailIfOption,
    HtmlOption,
    MinRowsOption,
    RtolOption,
    check_report_path,
)
from tfsctl.cli.options.connection_options import takes_connection_options
from tfsctl.cli.options.file_options import BatchSizeOption, ColumnsOption, ConcurrencyOption, parse_column_pair
from tfsctl.cli.options.output_options import ClassLabelsOption, JsonOption
from tfsctl.clients.connection import DEFAULT_TIMEOUT_S, Connection
from tfsctl.core.types import DEFAULT_SIGNATURE
from tfsctl.data.sources import FORMATS
from tfsctl.errors import ExitCode

if TYPE_CHECKING:
    from tfsctl.rollout.comparison.result import Comparison

SIDE_HELP = "A version's directory, NAME@VERSION, NAME@LABEL, or the URL of a model."


@takes_connection_options
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help=f"The version to compare with. {SIDE_HELP}")],
    b: Annotated[str, typer.Argument(metavar="B", help="The version to evaluate, in the same form as A.")],
    *,
    file: Annotated[
        str | None,
        typer.Option(
            "--file", metavar="FILE", help="The rows, as for `predict --file` (default: samples of the export)."
        ),
    ] = None,
    format: Annotated[  # noqa: A002 - the option's name
        str | None, typer.Option("--format", metavar="FORMAT", help=f"The format of FILE: {', '.join(FORMATS)}.")
    ] = None,
    column: ColumnsOption = None,
    signature: Annotated[str, typer.Option("--signature", metavar="NAME", help="The signature to run.")] = (
        DEFAULT_SIGNATURE
    ),
    atol: AtolOption = DEFAULT_ATOL,
    rtol: RtolOption = DEFAULT_RTOL,
    target: Annotated[
        str | None, typer.Option("--target", metavar="COLUMN", help="The column with the expected values.")
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", metavar="TASK", help="What to score: binary, multiclass or regression.")
    ] = None,
    score: Annotated[
        str | None, typer.Option("--score", metavar="OUTPUT", help="The output to score, if there are several.")
    ] = None,
    labels: ClassLabelsOption = None,
    slices: Annotated[
        list[str] | None,
        typer.Option(
            "--slice",
            metavar="COLUMN",
            help="Report each value of a column, or each pair of values of two (COLUMN,COLUMN). May be repeated.",
        ),
    ] = None,
    fail_if: FailIfOption = None,
    min_rows: MinRowsOption = DEFAULT_MIN_ROWS,
    html: HtmlOption = None,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write a JUnit XML report.")] = None,
    batch_size: BatchSizeOption = None,
    concurrency: ConcurrencyOption = None,
    rest: Annotated[bool, typer.Option("--rest", help="Use REST (default: gRPC).")] = False,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0.001, metavar="SECONDS", help="The time limit of each request.")
    ] = DEFAULT_TIMEOUT_S,
    connection: Connection,
    as_json: JsonOption = False,
) -> None:
    """Compare the predictions of two versions on the same rows.

    Sends every row to both versions and reports how many rows agree, and how far each output differs. With --target
    and --task, also reports the quality of both versions with confidence intervals. A directory is served by an
    embedded server during the comparison. The exit code is 7 if the condition of a --fail-if is true.

    \b
    Examples:
      tfsctl compare ./amazon_review/1790000000 ./amazon_review/1790000600 --file reviews.txt
      tfsctl compare amazon_review@stable amazon_review@canary --file reviews.csv --fail-if 'agreement<0.98'
      tfsctl compare ./m/1 ./m/2 --file test.csv --target label --task binary --slice country --html report.html
    """
    from tfsctl.cli.output import comparison as printed
    from tfsctl.cli.output import terminal
    from tfsctl.cli.output.class_scores import read_labels
    from tfsctl.rollout.comparison import request

    check_report_path(html)
    check_report_path(junit)
    wanted = request.ComparisonRequest(
        file=file,
        format=format,
        columns=dict(map(parse_column_pair, column or ())),
        signature=signature,
        atol=atol,
        rtol=rtol,
        target=target,
        task=task,
        score=score,
        labels=read_labels(labels) if labels else (),
        slices=slices or (),
        fail_if=fail_if or (),
        min_rows=min_rows,
        batch_size=batch_size,
        concurrency=concurrency,
        transport="rest" if rest else "grpc",
        timeout_s=timeout_s,
        connection=connection,
    )
    with terminal.progress_bar(quiet=as_json) as show:
        say = (lambda _text: None) if as_json else terminal.say
        found = request.run(a, b, wanted, show_step=say, show_rows=show, note=terminal.say)
    try:
        _write_reports(found, html, junit)
    finally:
        if as_json:
            terminal.answer_json(printed.json_document(found))
        else:
            printed.print_comparison(found)
    if not found.passed:
        raise typer.Exit(ExitCode.THRESHOLD)
    if found.gates:
        _bless(found, wanted.rows_name)


def _bless(found: Comparison, rows: str) -> None:
    """Note in the manifest of B that it passed."""
    from tfsctl.cli.output import terminal
    from tfsctl.rollout.comparison.blessing import bless

    if found.b.directory is None:
        terminal.say(f"the result was not recorded: the directory of {found.b.name} is unknown")
    elif problem := bless(found.b.directory, found, data=rows):
        terminal.say(f"the result was not recorded in the manifest of {found.b.name}: {problem}")


def _write_reports(found: Comparison, html: Path | None, junit: Path | None) -> None:
    from tfsctl.data.writers.whole_file import write_whole_file
    from tfsctl.rollout.comparison.html_report import html_report
    from tfsctl.rollout.comparison.junit import junit_xml

    if html is not None:
        write_whole_file(html, html_report(found).encode())
    if junit is not None:
        write_whole_file(junit, junit_xml(found))
