"""`tfsctl skew`: compare the inputs of recorded requests with the training data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from tfsctl.cli.options.output_options import JsonOption
from tfsctl.core.types import DEFAULT_SIGNATURE
from tfsctl.data.sources import FORMATS
from tfsctl.errors import ExitCode, InvalidInput


def skew(
    recording: Annotated[
        Path, typer.Argument(metavar="RECORDING", help="A recording: a file, or the directory of `tfsctl record`.")
    ],
    training: Annotated[str, typer.Argument(metavar="TRAINING_FILE", help="Rows, as for `predict --file`.")],
    *,
    format: Annotated[  # noqa: A002 - the option's name
        str | None,
        typer.Option("--format", metavar="FORMAT", help=f"The format of TRAINING_FILE: {', '.join(FORMATS)}."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="INPUT=COLUMN", help="The column of an input in TRAINING_FILE."),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option("--ignore", metavar="INPUT", help="Ignore this input. May be repeated.")
    ] = None,
    signature: Annotated[
        str, typer.Option("--signature", metavar="NAME", help="The signature whose requests are compared.")
    ] = DEFAULT_SIGNATURE,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-if", metavar="THRESHOLD", help="Fail with exit code 7 if the condition is true, e.g. 'psi>0.2'."
        ),
    ] = None,
    min_rows: Annotated[
        int, typer.Option("--min-rows", min=1, metavar="N", help="A threshold on fewer rows is undecided, and fails.")
    ] = 30,
    as_json: JsonOption = False,
) -> None:
    """Compare recorded inputs with the training data.

    Reports for each input the share of missing values, of numbers outside of the range of the training data, of
    categories that the training data does not have, and the population stability index (PSI). A threshold without an
    input applies to the worst one; `psi@age>0.2` applies to the input `age`.

    \b
    Examples:
      tfsctl skew recordings train.csv
      tfsctl skew recordings train.parquet --fail-if 'psi>0.2' --fail-if 'out_of_vocabulary@country>0.01'
    """
    from tfsctl.cli.options.file_options import parse_column_pair
    from tfsctl.cli.output import terminal
    from tfsctl.rollout.comparison.gates import parse_gate
    from tfsctl.rollout.comparison.junit import describe_gate
    from tfsctl.rollout.recording import skew as measuring

    chosen = next((one for one in FORMATS if one == format), None)
    if format is not None and chosen is None:
        raise InvalidInput(f"there is no format {format!r}", hint=f"the formats are {', '.join(FORMATS)}")
    gates = [parse_gate(text) for text in fail_if or ()]
    recorded = measuring.recorded_signature(recording, signature, ignore or ())
    found = measuring.measure(
        recording,
        training,
        recorded,
        format=chosen,
        columns=dict(map(parse_column_pair, column or ())),
        gates=gates,
        min_rows=min_rows,
        note=terminal.say_note,
    )
    if as_json:
        terminal.answer_json(found.document())
    else:
        terminal.say(f"{found.recorded_rows:,} recorded rows, {found.training_rows:,} rows of training data")
        rows = [
            (
                one.input,
                one.kind,
                _percent(one.missing_in_training),
                _percent(one.missing),
                _percent(one.out_of_range),
                _percent(one.out_of_vocabulary),
                "-" if math.isnan(one.psi) else f"{one.psi:.3f}",
            )
            for one in found.inputs
        ]
        titles = ("input", "kind", "missing in training", "missing", "out of range", "out of vocabulary", "PSI")
        terminal.answer_table(titles, rows)
        for gate in found.gates:
            terminal.answer(describe_gate(gate))
    if not found.passed:
        raise typer.Exit(ExitCode.THRESHOLD)


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:.2%}"
