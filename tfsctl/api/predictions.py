"""`Predictions`: the answer of `Client.predict`, a dict of arrays that notebooks show as a table."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

import numpy as np

from tfsctl.api import data_frames
from tfsctl.core.types import DEFAULT_SIGNATURE, Prediction

if TYPE_CHECKING:
    import pandas as pd

_SHOWN_ROWS = 10
_SHOWN_CHARS = 80


class Predictions(dict[str, np.ndarray]):
    """The outputs of a model: a dict from output names to NumPy arrays, in the order they were asked for.

    The arrays are read-only; use `array.copy()` to change one. Strings are bytes in arrays of dtype object.

    - `model`, `signature`: the names of the model and of the signature.
    - `version`: its number; None over REST unless the request named one.
    - `latency_s`: the time from request to answer, in seconds.
    """

    model: str = ""
    version: int | None = None
    signature: str = DEFAULT_SIGNATURE
    latency_s: float = 0.0

    def to_frame(self) -> pd.DataFrame:
        """Return a DataFrame with one row per row of the batch, and the strings decoded.

        An output of rows of `n` values becomes the columns `NAME_0` to `NAME_n-1`. Raises InvalidInput for an output
        without one value per row, and TfsctlError if pandas is not installed.
        """
        return data_frames.frame_of_outputs(self)

    def __repr__(self) -> str:
        with np.printoptions(threshold=50, edgeitems=3):
            return super().__repr__()

    def _repr_html_(self) -> str:
        """Return a table for notebooks, with the first rows only."""
        version = "" if self.version is None else f" version {self.version}"
        names = "".join(f"<th>{escape(name)}</th>" for name in self)
        columns = [
            data_frames.decoded(array) if array.ndim else data_frames.decoded(array[None]) for array in self.values()
        ]
        count = max(map(len, columns), default=0)
        rows = "".join(
            "<tr>" + "".join(f"<td>{_cell(column, row)}</td>" for column in columns) + "</tr>"
            for row in range(min(count, _SHOWN_ROWS))
        )
        more = f" (the first {_SHOWN_ROWS} of {count:,} rows)" if count > _SHOWN_ROWS else ""
        caption = escape(f"{self.model}{version}, {self.signature}{more}")
        return f"<table><caption>{caption}</caption><thead><tr>{names}</tr></thead><tbody>{rows}</tbody></table>"


def predictions_of(prediction: Prediction, names: tuple[str, ...] = ()) -> Predictions:
    """Return the outputs of these names (default: all)."""
    predictions = Predictions({name: prediction.outputs[name] for name in names or prediction.outputs})
    predictions.model, predictions.version = prediction.model, prediction.version
    predictions.signature, predictions.latency_s = prediction.signature, prediction.latency_s
    return predictions


def _cell(column: np.ndarray, row: int) -> str:
    if row >= len(column):
        return ""
    value = column[row]
    if isinstance(value, np.ndarray):
        text = np.array2string(value, threshold=6, edgeitems=2, precision=6, separator=", ")
    else:
        text = str(value)
    return escape(text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 1]}…")
