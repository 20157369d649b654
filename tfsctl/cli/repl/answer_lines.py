"""Format an answer as the lines that the REPL prints: with bars on a terminal, plain values or JSON otherwise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from tfsctl.cli.inference import classify_regress
from tfsctl.cli.output import predictions, value_text
from tfsctl.cli.output.class_scores import NO_CLASS_OPTIONS, ClassOptions
from tfsctl.core.inference import InferenceResult
from tfsctl.core.types import Prediction

ModelAnswer = Prediction | list[InferenceResult]


@dataclass(frozen=True, slots=True)
class AnswerStyle:
    """How answers are shown: as JSON, with bars, or as plain values (default); and which classes."""

    as_json: bool = False
    with_bars: bool = False
    class_options: ClassOptions = NO_CLASS_OPTIONS


def lines(answer: ModelAnswer, style: AnswerStyle) -> list[str]:
    """The lines of one answer."""
    if style.as_json:
        return [as_json(answer, style.class_options)]
    if isinstance(answer, Prediction):
        return _of_prediction(answer, style)
    return _of_inferences(answer, style)


def as_json(answer: ModelAnswer, class_options: ClassOptions = NO_CLASS_OPTIONS) -> str:
    """The complete answer, as the JSON document that `--json` prints."""
    document = (
        predictions.document(answer, class_options)
        if isinstance(answer, Prediction)
        else classify_regress.document(answer, class_options)
    )
    return json.dumps(document, ensure_ascii=False)


def latency_ms(answer: ModelAnswer) -> float:
    """How long the request took; the longest of several."""
    seconds = answer.latency_s if isinstance(answer, Prediction) else max(one.latency_s for one in answer)
    return seconds * 1000


def _of_prediction(prediction: Prediction, style: AnswerStyle) -> list[str]:
    if not style.with_bars:
        rows = predictions.plain_rows(prediction, style.class_options)
        if len(prediction.outputs) == 1 or style.class_options != NO_CLASS_OPTIONS:
            return ["\t".join(row) for row in rows]
        return [_named(value_text.columns(prediction), row) for row in rows]
    bar_lines = predictions.drawn_lines(prediction, style.class_options)
    if bar_lines is not None:
        return bar_lines
    names, rows = predictions.drawn_table(prediction, style.class_options)
    return [line for row in rows for line in _block(names, row)]


def _block(names: Sequence[str], row: Sequence[str]) -> list[str]:
    """One row of several outputs: one line, or several lines if an output is shown as classes."""
    if not any("\n" in cell for cell in row):
        return [_named(names, row)]
    lines = []
    for name, cell in zip(names, row, strict=True):
        lines += [name, *(f"  {line}" for line in cell.split("\n"))] if "\n" in cell else [f"{name} {cell}"]
    return lines


def _named(names: Sequence[str], row: Sequence[str]) -> str:
    return "  ".join(f"{name} {cell}" for name, cell in zip(names, row, strict=True))


def _of_inferences(answers: Sequence[InferenceResult], style: AnswerStyle) -> list[str]:
    lines = []
    for answer in answers:
        lines += [answer.task.signature] * (len(answers) > 1)
        if style.with_bars:
            lines += classify_regress.drawn_lines(answer, style.class_options)
        else:
            lines += ["\t".join(row) for row in classify_regress.plain_rows(answer, style.class_options)]
    return lines
