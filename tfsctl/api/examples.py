"""Convert the rows of `Client.classify` and `Client.regress` to examples: features by name, with values of one type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tfsctl.api import data_frames
from tfsctl.core.inference import Examples, ScoredClass
from tfsctl.errors import InvalidInput
from tfsctl.inputs.features import examples_of_records

if TYPE_CHECKING:
    import pandas as pd

    Rows: TypeAlias = "Mapping[str, Any] | Sequence[Mapping[str, Any]] | pd.DataFrame"

_BODY_KEYS = {"examples", "context", "signature_name"}


def examples_of(rows: object) -> Examples:
    """Return examples from one record, a list of records, a DataFrame, or the body of a REST request.

    The values of a feature are text, bytes, numbers, or a list or array of them. Raises InvalidInput for other values.
    """
    context: object = None
    if isinstance(rows, Mapping) and "examples" in rows and rows.keys() <= _BODY_KEYS:
        body = rows
        rows, context = body["examples"], body.get("context")
    if data_frames.is_frame(rows):
        rows = _records_of_frame(rows)
    if isinstance(rows, Mapping):
        rows = [rows]
    if not isinstance(rows, (list, tuple)):
        raise InvalidInput(
            f"the examples are of type {type(rows).__name__}, not features by name", hint='classify({"age": 42})'
        )
    return examples_of_records([_plain(row, number) for number, row in enumerate(rows, 1)], context and _plain(context))


def top_classes(classes: Sequence[ScoredClass], top: int | None) -> tuple[ScoredClass, ...]:
    """Return the `top` classes, the highest score first (default: all, in the order of the model)."""
    if top is None:
        return tuple(classes)
    return tuple(sorted(classes, key=lambda one: -one.score)[:top])


def _records_of_frame(frame: pd.DataFrame) -> list[dict[str, object]]:
    columns = {}
    for position, label in enumerate(frame.columns):
        columns[str(label)] = data_frames.series_values(frame.iloc[:, position], f"column {str(label)!r}")
    return [{name: values[row] for name, values in columns.items()} for row in range(len(frame))]


def _plain(row: object, number: int = 1) -> dict[str, object]:
    """Return the features of a row with Python's values instead of NumPy's. Raises InvalidInput if it has no names."""
    if not isinstance(row, Mapping):
        raise InvalidInput(f"row {number} is of type {type(row).__name__}, not features by name")
    return {str(name): _plain_value(value) for name, value in row.items()}


def _plain_value(value: object) -> object:
    if data_frames.is_series(value):
        value = data_frames.series_values(value, "a feature")
    if isinstance(value, (np.ndarray, np.generic)):
        return value.ravel().tolist() if isinstance(value, np.ndarray) else value.item()
    return [_plain_value(item) for item in value] if isinstance(value, (list, tuple)) else value
