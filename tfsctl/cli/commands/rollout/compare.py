"""`tfsctl compare`: send the same rows to two versions, and say whether the second one is good enough."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.options.file_options import parse_column_pair
from tfsctl.cli.options.output_options import Json
from tfsctl.clients.connection import DEFAULT_TIMEOUT_S, Transport
from tfsctl.core.types import DEFAULT_SIGNATURE
from tfsctl.data.sources import FORMATS, Format
from tfsctl.errors import ExitCode, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tfsctl.core.batches import Batch
    from tfsctl.core.types import Signature
    from tfsctl.rollout.comparison.collector import Scoring
    from tfsctl.rollout.comparison.result import Comparison

SIDE_HELP = "A version's directory, NAME@VERSION, NAME@LABEL, or the URL of a model."


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help=f"The version to compare with. {SIDE_HELP}")],
    b: Annotated[str, typer.Argument(metavar="B", help="The version to judge, written like A.")],
    *,
    file: Annotated[
        str | None, typer.Option("--file", metavar="FILE", help="The rows: any file that `predict --file` reads.")
    ] = None,
    format: Annotated[  # noqa: A002 - the option's name
        str | None, typer.Option("--format", metavar="FORMAT", help=f"The format of FILE: {', '.join(FORMATS)}.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", metavar="INPUT=COLUMN", help="The column of an input.")
    ] = None,
    signature: Annotated[str, typer.Option("--signature", metavar="NAME", help="The signature to run.")] = (
        DEFAULT_SIGNATURE
    ),
    atol: Annotated[float, typer.Option("--atol", min=0, help="Two numbers agree within atol + rtol * |a|.")] = 1e-5,
    rtol: Annotated[float, typer.Option("--rtol", min=0, help="The relative part of the tolerance.")] = 1e-4,
    target: Annotated[
        str | None, typer.Option("--target", metavar="COLUMN", help="The column with the right answers.")
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", metavar="TASK", help="What to score: binary, multiclass or regression.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--score", metavar="OUTPUT", help="The output to score, if there are several.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", metavar="FILE", help="The names of the classes, in order.")
    ] = None,
    slices: Annotated[
        list[str] | None,
        typer.Option("--slice", metavar="COLUMN", help="Report each value of a column, or of two: COLUMN,COLUMN."),
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option("--fail-if", metavar="THRESHOLD", help="Fail with exit code 7 if this holds: 'agreement<0.98'."),
    ] = None,
    min_rows: Annotated[
        int, typer.Option("--min-rows", min=1, metavar="N", help="Thresholds on fewer rows fail as undecided.")
    ] = 30,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a report with plots.")] = None,
    junit: Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML.")] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", min=1, metavar="ROWS", help="Rows per request (default: tuned automatically)."),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option("--concurrency", min=1, metavar="N", help="Requests at a time (default: tuned automatically)."),
    ] = None,
    rest: Annotated[bool, typer.Option("--rest", help="Use REST (default: gRPC).")] = False,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0.001, metavar="SECONDS", help="The time limit of each request.")
    ] = DEFAULT_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Compare the predictions of two versions on the same rows.

    Sends every row to both versions and reports how many rows agree, and how far each output is apart. With --target
    and --task it reports the quality of both, with confidence intervals. A directory is served by an embedded server
    while the comparison lasts. Each --fail-if is a threshold: if one is crossed, the exit code is 7.

    \b
    Examples:
      tfsctl compare ./amazon_review/1790000000 ./amazon_review/1790000600 --file reviews.txt
      tfsctl compare amazon_review@stable amazon_review@canary --file reviews.csv --fail-if 'agreement<0.98'
      tfsctl compare ./m/1 ./m/2 --file test.csv --target label --task binary --slice country --html report.html
    """
    from contextlib import ExitStack

    from tfsctl.cli.output import comparison as printed
    from tfsctl.cli.output import terminal
    from tfsctl.rollout.comparison import comparing
    from tfsctl.rollout.comparison.gates import parse_gate
    from tfsctl.rollout.comparison.output_difference import Tolerance
    from tfsctl.rollout.comparison.sides import open_side

    gates = tuple(map(parse_gate, fail_if or ()))
    renamed = dict(map(parse_column_pair, column or ()))
    pairs = tuple(tuple(part.split(",")) for part in slices or ())
    _check_options(file, target, task, slices, (html, junit))
    transport: Transport = "rest" if rest else "grpc"
    with ExitStack() as stack:
        with terminal.progress(quiet=as_json) as step:
            step(f"opening {a}")
            side_a = stack.enter_context(open_side(a, "a", transport=transport, timeout_s=timeout_s))
            step(f"opening {b}")
            side_b = stack.enter_context(open_side(b, "b", transport=transport, timeout_s=timeout_s))
        chosen = comparing.common_signature(side_a, side_b, signature)
        scoring = _scoring(task, target, output, labels, chosen)
        kept = [name for names in pairs for name in names] + ([target] if target else [])
        batches = _batches(file, format, chosen, renamed, list(dict.fromkeys(kept)))
        options = comparing.ComparisonOptions(
            Tolerance(atol, rtol), scoring, pairs, gates, min_rows, batch_size, concurrency
        )
        with terminal.progress_bar(quiet=as_json) as show:
            found = comparing.compare(side_a, side_b, chosen, batches, options, show=show)
    _write_reports(found, html, junit)
    if as_json:
        terminal.answer_json(printed.json_document(found))
    else:
        printed.print_comparison(found)
    if not found.passed:
        raise typer.Exit(ExitCode.THRESHOLD)


def _check_options(
    file: str | None, target: str | None, task: str | None, slices: list[str] | None, reports: tuple[Path | None, ...]
) -> None:
    if (target is None) != (task is None):
        given, missing = ("--target", "--task TASK") if target else ("--task", "--target COLUMN")
        raise InvalidInput(f"{given} needs {missing}", hint="--target COLUMN --task binary, multiclass or regression")
    if task is not None and task not in ("binary", "multiclass", "regression"):
        raise InvalidInput(f"there is no task {task!r}", hint="--task binary, multiclass or regression")
    if file is None and (target or slices):
        raise InvalidInput(f"{'--target' if target else '--slice'} names a column of a file", hint="add --file FILE")
    for report in reports:
        if report is not None and not report.parent.is_dir():
            raise InvalidInput(
                f"there is no directory {report.parent} for {report.name}", hint=f"mkdir -p {report.parent}"
            )


def _scoring(
    task: str | None, target: str | None, output: str | None, labels: Path | None, signature: Signature
) -> Scoring | None:
    """The task, with the output to score. Raises InvalidInput if there are several and none was chosen."""
    if task is None or target is None:
        return None
    from tfsctl.cli.output.classes import read_labels
    from tfsctl.rollout.comparison.collector import Scoring

    names = [spec.name for spec in signature.outputs]
    if output is None and len(names) > 1:
        raise InvalidInput(f"which output is scored: {', '.join(names)}?", hint=f"--score {names[0]}")
    if output is not None and output not in names:
        raise InvalidInput(f"there is no output {output!r}", hint=f"--score {names[0]}")
    classes = {name: number for number, name in enumerate(read_labels(labels))} if labels else {}
    return Scoring(task, target, output or names[0], classes)  # type: ignore[arg-type] # checked by _check_options


def _batches(
    file: str | None, chosen_format: str | None, signature: Signature, renamed: dict[str, str], kept: list[str]
) -> Iterator[Batch]:
    """The rows of the file, or the sample of the model's manifest."""
    from tfsctl.cli.output import terminal
    from tfsctl.data.shaping import Keep, shape_rows
    from tfsctl.data.sources import open_source

    if chosen_format is not None and chosen_format not in FORMATS:
        raise InvalidInput(f"there is no format {chosen_format!r}", hint=f"--format: {', '.join(FORMATS)}")
    if file is None:
        raise InvalidInput("there are no rows to compare on", hint="--file FILE: any file that `predict --file` reads")
    format_: Format | None = chosen_format
    source = open_source(file, signature, format=format_)
    return shape_rows(source, signature, renamed=renamed, keep=Keep(tuple(kept)), note=terminal.say)


def _write_reports(found: Comparison, html: Path | None, junit: Path | None) -> None:
    from tfsctl.rollout.comparison.html_report import html_report
    from tfsctl.rollout.comparison.junit import junit_xml

    if html is not None:
        html.write_text(html_report(found), encoding="utf-8")
    if junit is not None:
        junit.write_bytes(junit_xml(found))
