"""`tfsctl lint`: check a model or a config file by TensorFlow Serving's rules."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tfsctl.cli.options.output_options import JsonOption
from tfsctl.errors import ExitCode, InvalidInput

if TYPE_CHECKING:
    from tfsctl.lint.finding import LintReport


def lint(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="The directory of a model or of one version, or a config file.")
    ],
    *,
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            help="model, model-config, batching, monitoring or tls (default: detected from the contents).",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="DIR", help="For batching parameters: check that they work with this model."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check a model or a config file by TensorFlow Serving's rules.

    PATH is a SavedModel, a directory of versions, or a file for --model_config_file, --batching_parameters_file,
    --monitoring_config_file or --ssl_config_file. No server is started, and TensorFlow is not loaded.

    Each finding is printed with its place, its severity and its fix. An error keeps a server from starting, loading the
    model or answering requests. The exit code is 1 if there are errors, and 0 if there are only warnings or no findings.

    \b
    Examples:
      tfsctl lint ./amazon_review
      tfsctl lint models.config
      tfsctl lint batching.config --model ./amazon_review --json
    """
    from tfsctl.cli.output import terminal
    from tfsctl.lint import linting

    chosen = next((one for one in linting.KINDS if one == kind), None)
    if kind is not None and chosen is None:
        raise InvalidInput(f"--kind {kind}: no such kind", hint=f"--kind {'|'.join(linting.KINDS)}")
    report = linting.lint(path, kind=chosen, model=model)
    if as_json:
        terminal.answer_json(report.as_json())
    else:
        _print(report)
    if report.errors:
        raise typer.Exit(ExitCode.FAILED)


def _print(report: LintReport) -> None:
    from tfsctl.cli.output import terminal

    for finding in report.findings:
        terminal.answer(f"{finding.place}: {finding.severity}: {finding.message} [{finding.rule}]")
        if finding.fix:
            terminal.answer(f"  fix: {finding.fix}")
    terminal.say(
        f"{report.path} ({report.kind}): {_count(report.errors, 'error')}, {_count(report.warnings, 'warning')}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
