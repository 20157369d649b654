"""Answers as lines of a conversation: drawn for people, values and documents for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from tfsctl.cli.inference import examples as inference_examples
from tfsctl.cli.output import answers as answer_text
from tfsctl.cli.output import predictions
from tfsctl.cli.output.classes import View
from tfsctl.core.inference import InferenceResult
from tfsctl.core.types import Prediction

Answer = Prediction | list[InferenceResult]


@dataclass(frozen=True, slots=True)
class Style:
    """How answers are shown: as JSON, drawn with bars, or as plain values; and which classes."""

    as_json: bool = False
    drawn: bool = False
    view: View = predictions.PLAIN


def lines(answer: Answer, style: Style) -> list[str]:
    """The lines of one answer."""
    if style.as_json:
        return [whole(answer, style.view)]
    if isinstance(answer, Prediction):
        return _of_prediction(answer, style)
    return _of_inferences(answer, style)


def whole(answer: Answer, view: View = predictions.PLAIN) -> str:
    """All of an answer, as the JSON document `--json` prints."""
    made = (
        predictions.document(answer, view)
        if isinstance(answer, Prediction)
        else inference_examples.document(answer, view)
    )
    return json.dumps(made, ensure_ascii=False)


def latency_ms(answer: Answer) -> float:
    """How long the request took."""
    seconds = answer.latency_s if isinstance(answer, Prediction) else max(one.latency_s for one in answer)
    return seconds * 1000


def _of_prediction(prediction: Prediction, style: Style) -> list[str]:
    if not style.drawn:
        rows = predictions.plain_rows(prediction, style.view)
        if len(prediction.outputs) == 1 or style.view.wants_classes:
            return ["\t".join(row) for row in rows]
        return [_named(answer_text.columns(prediction), row) for row in rows]
    drawn = predictions.drawn_lines(prediction, style.view)
    if drawn is not None:
        return drawn
    names, rows = predictions.drawn_table(prediction, style.view)
    return [line for row in rows for line in _block(names, row)]


def _block(names: Sequence[str], row: Sequence[str]) -> list[str]:
    """A row of several outputs: one line, or with classes among them a few."""
    if not any("\n" in cell for cell in row):
        return [_named(names, row)]
    found = []
    for name, cell in zip(names, row, strict=True):
        found += [name, *(f"  {line}" for line in cell.split("\n"))] if "\n" in cell else [f"{name} {cell}"]
    return found


def _named(names: Sequence[str], row: Sequence[str]) -> str:
    return "  ".join(f"{name} {cell}" for name, cell in zip(names, row, strict=True))


def _of_inferences(answers: Sequence[InferenceResult], style: Style) -> list[str]:
    found = []
    for answer in answers:
        found += [answer.task.signature] * (len(answers) > 1)
        if style.drawn:
            found += inference_examples.drawn_lines(answer, style.view)
        else:
            found += ["\t".join(row) for row in inference_examples.plain_rows(answer, style.view)]
    return found
