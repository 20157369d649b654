"""Format a prediction: values, bars or a table for a terminal; tab-separated rows and JSON for programs.

Only the terminal formats shorten an answer.
"""

from __future__ import annotations

from typing import Any

from tfsctl.cli.output import bars, classes, value_text
from tfsctl.cli.output.classes import NO_CLASS_OPTIONS, ClassOptions, ClassScore
from tfsctl.core.json_strings import quote_controls
from tfsctl.core.types import Prediction

_CELL_BAR_WIDTH = 8


def document(prediction: Prediction, class_options: ClassOptions = NO_CLASS_OPTIONS) -> dict[str, Any]:
    """The answer as one JSON value, with the classes that --top or --labels asked for under `top`."""
    written = value_text.document(prediction)
    if class_options.wants_classes:
        written["top"] = {
            name: [_class_documents(row, class_options) for row in rows]
            for name, rows in classes.classes_of(prediction, class_options).items()
        }
    return written


def plain_rows(prediction: Prediction, class_options: ClassOptions = NO_CLASS_OPTIONS) -> list[list[str]]:
    """Rows of cells for programs: one per row of the batch, or per class (row, output if several, class, score)."""
    if not class_options.wants_classes:
        return value_text.rows(prediction)
    found = classes.classes_of(prediction, class_options)
    return [
        [
            str(number),
            *([name] if len(found) > 1 else []),
            quote_controls(one.name),
            value_text.text(one.score),
        ]
        for name, rows in found.items()
        for number, row in enumerate(rows, start=1)
        for one in classes.selected_classes(row, class_options)
    ]


def drawn_lines(prediction: Prediction, class_options: ClassOptions = NO_CLASS_OPTIONS) -> list[str] | None:
    """Lines for a terminal, with bars for scores; None if the answer needs a table (`drawn_table`)."""
    found = classes.classes_of(prediction, class_options)
    only = next(iter(prediction.outputs.values())) if len(prediction.outputs) == 1 else None
    if len(found) == 1 and (
        only is not None or (len(prediction.outputs) == 2 and _has_label_output(prediction, found))
    ):
        (rows,) = found.values()
        return bars.numbered(bars.of_classes(rows, class_options.top))
    if only is None:
        return None
    if classes.looks_like_probabilities(only) and (only.ndim == 1 or only.shape[1:] == (1,)):
        return bars.of_scores(list(only.ravel()))
    return [cell for row in value_text.rows(prediction, cell=value_text.brief) for cell in row]


def drawn_table(
    prediction: Prediction, class_options: ClassOptions = NO_CLASS_OPTIONS
) -> tuple[list[str], list[list[str]]]:
    """Columns and rows for a terminal, one column per output; a cell of classes has one line per class."""
    names = value_text.columns(prediction)
    rows = value_text.rows(prediction, cell=value_text.brief)
    found = classes.classes_of(prediction, class_options)
    if value_text.is_batch(prediction):
        for column, name in enumerate(names):
            for row, block in zip(
                rows, bars.of_classes(found.get(name, ()), class_options.top, width=_CELL_BAR_WIDTH), strict=False
            ):
                row[column] = "\n".join(block)
    return names, rows


def _has_label_output(prediction: Prediction, found: dict[str, list[list[ClassScore]]]) -> bool:
    """Whether the second output holds the labels of the first."""
    (name,) = found
    other = next(array for key, array in prediction.outputs.items() if key != name)
    return other.dtype.kind == "O" and other.shape == prediction.outputs[name].shape


def _class_documents(row: list[ClassScore], class_options: ClassOptions) -> list[dict[str, Any]]:
    import numpy as np

    return [
        {"label": one.label or None, "index": one.index, "score": value_text.json_values(np.asarray(one.score))}
        for one in classes.selected_classes(row, class_options)
    ]
