"""Read pandas DataFrames and Series as inputs, and return outputs as a DataFrame.

pandas is optional. Values are recognized only if the program has imported pandas, so this module does not load it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from tfsctl.core.types import Signature
from tfsctl.data.shaping import match_columns
from tfsctl.errors import InvalidInput, TfsctlError

if TYPE_CHECKING:
    import pandas as pd


def is_frame(value: object) -> TypeGuard[pd.DataFrame]:
    """Whether a value is a pandas DataFrame."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, pandas.DataFrame)


def is_series(value: object) -> TypeGuard[pd.Series[Any]]:
    """Whether a value is a pandas Series or Index."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, (pandas.Series, pandas.Index))


def frame_columns(
    frame: pd.DataFrame, signature: Signature, *, renamed: Mapping[str, str] | None = None, first_row: int = 1
) -> dict[str, object]:
    """Return the values of each input, one per row, from the columns of a DataFrame. Other columns are ignored.

    An input of rows of `n` values takes the columns `NAME_0` to `NAME_n-1`, or all `n` columns if it is the only input.
    `renamed` names the column of an input, and `first_row` is the number of the first row in messages.

    Raises InvalidInput for a missing column, a duplicate column, or a missing value.
    """
    labels = [str(label) for label in frame.columns]
    try:
        matched = match_columns(labels, signature, "the DataFrame", renamed or {}).columns
    except InvalidInput as error:
        name, _, column = error.hint.removeprefix("--column ").partition(" ")[0].partition("=")
        raise InvalidInput(
            error.message.replace("--column ", "columns: "),
            hint=f'df.rename(columns={{"{column or "COLUMN"}": "{name}"}})',
        ) from error
    values: dict[str, object] = {}
    for name, found in matched.items():
        duplicate = next((label for label in found if labels.count(label) > 1), None)
        if duplicate is not None:
            raise InvalidInput(f"the DataFrame has several columns named {duplicate!r}", hint="rename or drop one")
        columns = [
            series_values(frame.iloc[:, labels.index(label)], f"column {label!r}", first_row=first_row)
            for label in found
        ]
        values[name] = [list(row) for row in zip(*columns, strict=True)] if len(found) > 1 else columns[0]
    return values


def series_values(series: pd.Series[Any] | pd.Index[Any], where: str, *, first_row: int = 1) -> np.ndarray | list[Any]:
    """Return the values of a Series: an array of numbers, or a list of other values. Raises InvalidInput if one is missing.

    `where` names the Series in messages.
    """
    missing = np.flatnonzero(np.asarray(series.isna()))
    if len(missing):
        at = int(missing[0])
        label = getattr(series, "index", None)
        index = "" if label is None else f" (index {_plain(label[at])!r})"
        more = f", and {len(missing) - 1:,} more rows have none" if len(missing) > 1 else ""
        raise InvalidInput(
            f"row {first_row + at}{index} has no value in {where}{more}",
            hint="df.dropna() drops rows without a value, df.fillna(VALUE) fills them",
        )
    array = np.asarray(series.to_numpy())
    return array if array.dtype.kind in "biufcmM" else [_plain(value) for value in array.tolist()]


def frame_values(frame: pd.DataFrame) -> list[list[Any]]:
    """Return the rows of a DataFrame as lists. Raises InvalidInput if a value is missing."""
    columns = [series_values(frame.iloc[:, at], f"column {str(label)!r}") for at, label in enumerate(frame.columns)]
    return [list(row) for row in zip(*columns, strict=True)]


def record_of_series(series: pd.Series[Any], signature: Signature) -> dict[str, object] | None:
    """Return the values of one row of a DataFrame, such as `df.iloc[0]`, by input; None if the Series is a column."""
    labels = [str(label) for label in getattr(series, "index", ())]
    if not signature.inputs or not all(spec.name in labels for spec in signature.inputs):
        return None
    found = {spec.name: series.iloc[labels.index(spec.name)] for spec in signature.inputs}
    for name, value in found.items():
        if np.ndim(value) == 0 and value != value:  # noqa: PLR0124 - only NaN differs from itself
            raise InvalidInput(f"the row has no value for {name!r}")
        if value is None or type(value).__name__ in ("NAType", "NaTType"):
            raise InvalidInput(f"the row has no value for {name!r}")
    return found


def frame_of_outputs(outputs: Mapping[str, np.ndarray], index: pd.Index[Any] | None = None) -> pd.DataFrame:
    """Return outputs as a DataFrame with one row per row of the batch. Strings are decoded as UTF-8 where possible.

    An output of rows of `n` values becomes the columns `NAME_0` to `NAME_n-1`; larger values are arrays in one column.

    Raises InvalidInput for an output without one value per row, and TfsctlError if pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise TfsctlError("a DataFrame needs pandas, which is not installed", hint="pip install pandas") from error
    counts = {name: len(array) if array.ndim else None for name, array in outputs.items()}
    if len(set(counts.values())) > 1 or None in counts.values():
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in outputs.items())
        raise InvalidInput(f"the outputs do not have one value per row: {shapes}", hint="remove as_frame")
    columns: dict[str, Sequence[Any] | np.ndarray] = {}
    for name, array in outputs.items():
        plain = decoded(array)
        if array.ndim == 1 or array.shape[1:] == (1,):
            columns[name] = plain.reshape(len(array))
        elif array.ndim == 2:
            columns |= {f"{name}_{number}": plain[:, number] for number in range(array.shape[1])}
        else:
            columns[name] = list(plain)
    fits = index is not None and all(len(column) == len(index) for column in columns.values())
    return pd.DataFrame(columns, index=index if fits else None)


def decoded(array: np.ndarray) -> np.ndarray:
    """Return an array of strings with its bytes decoded as UTF-8. Other arrays, and other bytes, are unchanged."""
    if array.dtype.kind != "O":
        return array
    texts = np.empty(array.shape, dtype=object)
    texts.ravel()[:] = [_text(value) for value in array.ravel().tolist()]
    return texts


def _text(value: object) -> object:
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value


def _plain(value: object) -> object:
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value
