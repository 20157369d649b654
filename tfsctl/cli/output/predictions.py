"""Format a prediction: values, bars or a table for a terminal; tab-separated rows and JSON for programs.

Only the terminal formats shorten an answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfsctl.cli.output import alignment, class_scores, value_text
from tfsctl.cli.output.class_scores import NO_CLASS_OPTIONS, ClassOptions, ClassScore
from tfsctl.cli.output.value_text import MAX_VALUES_SHOWN
from tfsctl.core.json_strings import quote_controls
from tfsctl.core.types import Prediction

if TYPE_CHECKING:
    import numpy as np

_CELL_BAR_WIDTH = 8
_MAX_INPUT_LENGTH = 40  # of a cell of an input


@dataclass(frozen=True, slots=True)
class RowInputs:
    """The inputs to print next to the predictions: the names of the inputs, and for each row a cell per input."""

    names: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def labels(self) -> list[str]:
        """One text per row."""
        if len(self.names) == 1:
            return [cell for (cell,) in self.rows]
        return [" ".join(f"{name}={cell}" for name, cell in zip(self.names, row, strict=True)) for row in self.rows]


def row_inputs(arrays: Mapping[str, np.ndarray]) -> RowInputs | None:
    """The inputs of a request with several rows; None for a single row, and for rows that are too large to show."""
    counts = {len(array) if array.ndim else 0 for array in arrays.values()}
    if len(counts) != 1 or max(counts) < 2 or any(array[:1].size > MAX_VALUES_SHOWN for array in arrays.values()):
        return None
    columns = [[_shortened(value_text.text(value)) for value in array] for array in arrays.values()]
    return RowInputs(list(arrays), list(zip(*columns, strict=True)))


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_INPUT_LENGTH else f"{text[: _MAX_INPUT_LENGTH - 1]}…"


def _matching_inputs(inputs: RowInputs | None, prediction: Prediction) -> RowInputs | None:
    """The inputs, if the prediction has one answer for each of their rows."""
    if inputs is None or not value_text.is_batch(prediction):
        return None
    return inputs if len(inputs.rows) == len(next(iter(prediction.outputs.values()))) else None


def document(prediction: Prediction, class_options: ClassOptions = NO_CLASS_OPTIONS) -> dict[str, Any]:
    """The answer as one JSON value, with the classes that --top or --labels asked for under `top`."""
    written = value_text.document(prediction)
    if class_options != NO_CLASS_OPTIONS:
        written["top"] = {
            name: [_class_documents(row, class_options) for row in rows]
            for name, rows in class_scores.classes_of(prediction, class_options).items()
        }
    return written


def plain_rows(prediction: Prediction, class_options: ClassOptions = NO_CLASS_OPTIONS) -> list[list[str]]:
    """Rows of cells for programs: one per row of the batch, or per class (row, output if several, class, score)."""
    if class_options == NO_CLASS_OPTIONS:
        return value_text.rows(prediction)
    found = class_scores.classes_of(prediction, class_options)
    return [
        [
            str(number),
            *([name] if len(found) > 1 else []),
            quote_controls(one.name),
            value_text.text(one.score),
        ]
        for name, rows in found.items()
        for number, row in enumerate(rows, start=1)
        for one in class_scores.selected_classes(row, class_options)
    ]


def drawn_lines(
    prediction: Prediction, class_options: ClassOptions = NO_CLASS_OPTIONS, inputs: RowInputs | None = None
) -> list[str] | None:
    """Lines for a terminal, with bars for scores and the inputs of each row; None if the answer needs a table."""
    from tfsctl.cli.output import bars  # programs get no bars

    fitting = _matching_inputs(inputs, prediction)
    labels = fitting.labels if fitting else None
    found = class_scores.classes_of(prediction, class_options)
    only = next(iter(prediction.outputs.values())) if len(prediction.outputs) == 1 else None
    if len(found) == 1 and (
        only is not None or (len(prediction.outputs) == 2 and _has_label_output(prediction, found))
    ):
        (rows,) = found.values()
        return bars.numbered(bars.of_classes(rows, class_options.top), labels)
    if only is None:
        return None
    if class_scores.looks_like_probabilities(only) and (only.ndim == 1 or only.shape[1:] == (1,)):
        return bars.of_scores(list(only.ravel()), labels)
    cells = [cell for row in value_text.rows(prediction, cell=value_text.brief) for cell in row]
    if labels is None:
        return cells
    width = alignment.widest(labels)
    return [f"{alignment.padded(label, width)}  {cell}" for label, cell in zip(labels, cells, strict=True)]


def drawn_table(
    prediction: Prediction, class_options: ClassOptions = NO_CLASS_OPTIONS, inputs: RowInputs | None = None
) -> tuple[list[str], list[list[str]]]:
    """Columns and rows for a terminal, one column per input and output; a cell of classes has one line per class."""
    from tfsctl.cli.output import bars

    names = value_text.columns(prediction)
    rows = value_text.rows(prediction, cell=value_text.brief)
    found = class_scores.classes_of(prediction, class_options)
    if value_text.is_batch(prediction):
        for column, name in enumerate(names):
            for row, block in zip(
                rows, bars.of_classes(found.get(name, ()), class_options.top, width=_CELL_BAR_WIDTH), strict=False
            ):
                row[column] = "\n".join(block)
    fitting = _matching_inputs(inputs, prediction)
    if fitting is None:
        return names, rows
    return [*fitting.names, *names], [[*cells, *row] for cells, row in zip(fitting.rows, rows, strict=True)]


def _has_label_output(prediction: Prediction, found: dict[str, list[list[ClassScore]]]) -> bool:
    """Whether the second output holds the labels of the first."""
    (name,) = found
    other = next(array for key, array in prediction.outputs.items() if key != name)
    return other.dtype.kind == "O" and other.shape == prediction.outputs[name].shape


def _class_documents(row: list[ClassScore], class_options: ClassOptions) -> list[dict[str, Any]]:
    import numpy as np

    return [
        {"label": one.label or None, "index": one.index, "score": value_text.json_values(np.asarray(one.score))}
        for one in class_scores.selected_classes(row, class_options)
    ]
