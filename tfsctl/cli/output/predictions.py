"""A prediction as people see it: values, bars or a table on a terminal; lines and JSON for programs.

Only a terminal gets less than the whole answer.
"""

from __future__ import annotations

from typing import Any

from tfsctl.cli.output import answers, bars, classes
from tfsctl.cli.output.classes import Class, View
from tfsctl.core.types import Prediction

_CELL_BAR = 8
PLAIN = View()


def document(prediction: Prediction, view: View = PLAIN) -> dict[str, Any]:
    """The answer as one JSON value; with the classes asked for under `top`."""
    written = answers.document(prediction)
    if view.wants_classes:
        written["top"] = {
            name: [_class_documents(row, view) for row in rows]
            for name, rows in classes.classes_of(prediction, view).items()
        }
    return written


def plain_rows(prediction: Prediction, view: View = PLAIN) -> list[list[str]]:
    """Lines for programs, in cells: a row of the batch each; of classes asked for each one: row, (output,) class, score."""
    if not view.wants_classes:
        return answers.rows(prediction)
    found = classes.classes_of(prediction, view)
    return [
        [str(number), *([name] if len(found) > 1 else []), answers.safe(one.name), answers.text(one.score)]
        for name, rows in found.items()
        for number, row in enumerate(rows, start=1)
        for one in classes.highest(row, view)
    ]


def drawn_lines(prediction: Prediction, view: View = PLAIN) -> list[str] | None:
    """Lines for people, with bars for scores; None where the answer is better seen as a table (`drawn_table`)."""
    found = classes.classes_of(prediction, view)
    only = next(iter(prediction.outputs.values())) if len(prediction.outputs) == 1 else None
    if len(found) == 1 and (only is not None or (len(prediction.outputs) == 2 and _labelled(prediction, found))):
        (rows,) = found.values()
        return bars.numbered(bars.of_classes(rows, view.top))
    if only is None:
        return None
    if classes.looks_like_probabilities(only) and (only.ndim == 1 or only.shape[1:] == (1,)):
        return bars.of_scores(list(only.ravel()))
    return [cell for row in answers.rows(prediction, cell=answers.brief) for cell in row]


def drawn_table(prediction: Prediction, view: View = PLAIN) -> tuple[list[str], list[list[str]]]:
    """Columns and rows for people: a column an output; classes stand in one cell, a line each."""
    names = answers.columns(prediction)
    rows = answers.rows(prediction, cell=answers.brief)
    found = classes.classes_of(prediction, view)
    if answers.is_batch(prediction):
        for column, name in enumerate(names):
            for row, block in zip(rows, bars.of_classes(found.get(name, ()), view.top, width=_CELL_BAR), strict=False):
                row[column] = "\n".join(block)
    return names, rows


def _labelled(prediction: Prediction, found: dict[str, list[list[Class]]]) -> bool:
    """Whether the second output only names the classes of the first."""
    (name,) = found
    other = next(array for key, array in prediction.outputs.items() if key != name)
    return other.dtype.kind == "O" and other.shape == prediction.outputs[name].shape


def _class_documents(row: list[Class], view: View) -> list[dict[str, Any]]:
    import numpy as np

    return [
        {"label": one.label or None, "index": one.index, "score": answers.json_values(np.asarray(one.score))}
        for one in classes.highest(row, view)
    ]
