"""Options of the commands that compare the predictions of two versions: `compare` and `shadow`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from tfsctl.errors import InvalidInput

DEFAULT_ATOL, DEFAULT_RTOL = 1e-5, 1e-4
DEFAULT_MIN_ROWS = 30

AtolOption = Annotated[
    float, typer.Option("--atol", min=0, metavar="NUMBER", help="Two numbers agree within atol + rtol * |a|.")
]
RtolOption = Annotated[
    float, typer.Option("--rtol", min=0, metavar="NUMBER", help="The relative part of the tolerance.")
]
FailIfOption = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-if",
        metavar="THRESHOLD",
        help="Fail with exit code 7 if the condition is true, e.g. 'agreement<0.98'. May be repeated.",
    ),
]
MinRowsOption = Annotated[
    int, typer.Option("--min-rows", min=1, metavar="N", help="A threshold on fewer rows is undecided, and fails.")
]
HtmlOption = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write an HTML report with plots.")]


def check_report_path(report: Path | None) -> None:
    """Raise InvalidInput if a report cannot be written there. None: no report is wanted."""
    if report is not None and report.is_dir():
        raise InvalidInput(f"{report} is a directory, and a report is a file")
    if report is not None and not report.parent.is_dir():
        raise InvalidInput(
            f"there is no directory {report.parent} for {report.name}",
            hint=f"create it with: mkdir -p {shlex.quote(str(report.parent))}",
        )
