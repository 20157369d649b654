"""Predict any number of rows with concurrent requests: the rows of an iterable, a DataFrame, arrays or a file."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from tfsctl.api import data_frames, progress
from tfsctl.api.arrays import array_of_rows
from tfsctl.api.inputs import arrays_of_rows, input_arrays
from tfsctl.clients.bulk.bulk_predictor import BulkOptions, BulkPredictor, PredictBatch
from tfsctl.core import dtypes
from tfsctl.core.batches import RowBatch, batch_reader, fixed_batch_size
from tfsctl.core.types import Signature, TensorSpec
from tfsctl.data.shaping import shape_rows
from tfsctl.data.sources import FORMATS, open_source
from tfsctl.errors import InvalidInput, RequestRejected, TfsctlError

if TYPE_CHECKING:
    import pandas as pd

    from tfsctl.data.sources import Format

    ManyRows: TypeAlias = "Iterable[Any] | Mapping[str, Any] | pd.DataFrame | str | os.PathLike[str]"

_CHUNK_ROWS = 1024


@dataclass(frozen=True, slots=True)
class ManyOptions:
    """How rows are read and sent. None: `batch_size` and `concurrency` are tuned, `format` is recognized by the suffix.

    `show` is called with the progress.
    """

    batch_size: int | None = None
    concurrency: int | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    format: Format | None = None
    show: progress.ShowProgress | None = None


def predict_rows(
    rows: ManyRows, signature: Signature, predict: PredictBatch, options: ManyOptions, outputs: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Return the outputs for all rows, in their order. `predict` sends one batch, and returns `outputs` (default: all).

    Raises what reading the rows and `predict` raise; an error of one row has the number of that row, from 1.
    """
    fixed = fixed_batch_size(signature)
    for name, value in (("batch_size", options.batch_size), ("concurrency", options.concurrency)):
        if value is not None and value < 1:
            raise InvalidInput(f"{name} must be a positive number, not {value}")
    if fixed is not None and options.batch_size not in (None, fixed):
        raise InvalidInput(f"{signature.name} takes exactly {fixed} rows per request", hint=f"batch_size={fixed}")
    if options.format is not None and options.format not in FORMATS:
        raise InvalidInput(f"there is no format {options.format!r}", hint=f"formats are {', '.join(FORMATS)}")
    settings = BulkOptions(
        batch_size=options.batch_size or fixed, concurrency=options.concurrency, divisible=fixed in (None, 1)
    )
    bulk = BulkPredictor(batch_reader(_batches(rows, signature, options)), predict, settings)
    parts: list[Mapping[str, np.ndarray]] = []
    done = 0
    try:
        for answered in bulk:
            if len(answered.batch):
                parts.append({**answered.batch.labels, **answered.outputs})
                done += len(answered.batch)
            if options.show is not None:
                options.show(done, answered.batch.fraction_read)
    except RequestRejected as error:
        error.hint = "" if "--on-error" in error.hint else error.hint  # Python has no such argument
        raise
    if not parts:
        return _empty_outputs(signature, outputs)
    return {name: _concatenated(name, [part[name] for part in parts]) for name in parts[0]}


def _empty_outputs(signature: Signature, outputs: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the outputs for no rows at all."""
    return {
        spec.name: np.zeros((0, *(size or 0 for size in (spec.shape or ())[1:])), dtypes.BY_NAME[spec.dtype].numpy)
        for spec in signature.outputs
        if spec.dtype in dtypes.BY_NAME and (not outputs or spec.name in outputs)
    }


def _concatenated(name: str, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Return one array of the outputs of all batches. Raises InvalidInput if their rows have different shapes."""
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        raise InvalidInput(
            f"the rows of output {name!r} have different shapes: {', '.join(map(str, map(list, shapes)))}",
            hint="predict rows of different sizes one by one",
        )
    whole = np.concatenate(arrays)
    whole.setflags(write=False)
    return whole


def _batches(rows: object, signature: Signature, options: ManyOptions) -> Iterator[RowBatch]:
    """Batches of the rows. Every array has one item per row, also for an input that takes a single value."""
    if isinstance(rows, (str, os.PathLike)):
        source = open_source(os.fspath(rows), signature, format=options.format)
        return shape_rows(source, signature, renamed=options.columns)
    if options.format is not None:
        raise InvalidInput("format is for files", hint="remove format")
    signature = replace(signature, inputs=tuple(map(_with_rows, signature.inputs)))
    if data_frames.is_frame(rows):
        return _frame_batches(rows, signature, options.columns)
    if options.columns:
        raise InvalidInput("columns is for files and DataFrames", hint="remove columns")
    if isinstance(rows, Mapping) or hasattr(rows, "__array__"):
        return _array_batches(input_arrays(rows, signature, are_rows=True))
    if isinstance(rows, (bytes, bytearray)) or not isinstance(rows, Iterable):
        raise InvalidInput(
            f"rows of type {type(rows).__name__} cannot be read", hint="predict_many([…]), or predict(…) for one row"
        )
    return _iterable_batches(rows, signature)


def _with_rows(spec: TensorSpec) -> TensorSpec:
    """Return the input with any number of rows."""
    return spec if spec.shape is None else replace(spec, shape=(None, *spec.shape[1:]))


def _array_batches(arrays: Mapping[str, np.ndarray]) -> Iterator[RowBatch]:
    """Slices of whole arrays. Raises InvalidInput if an input has no rows."""
    without = next((name for name, array in arrays.items() if not array.ndim), None)
    if without is not None:
        raise InvalidInput(f"{without} is a single value, not rows")
    counts = {len(array) for array in arrays.values()}
    if len(counts) > 1:
        raise InvalidInput("the inputs have different numbers of rows: " + ", ".join(map(str, sorted(counts))))
    total = counts.pop() if counts else 0
    for start in range(0, total, _CHUNK_ROWS):
        end = min(start + _CHUNK_ROWS, total)
        part = {name: array[start:end] for name, array in arrays.items()}
        yield RowBatch(np.arange(start + 1, end + 1), part, end, fraction_read=end / total)


def _frame_batches(frame: pd.DataFrame, signature: Signature, columns: Mapping[str, str]) -> Iterator[RowBatch]:
    for start in range(0, len(frame), _CHUNK_ROWS):
        part = frame.iloc[start : start + _CHUNK_ROWS]
        found = data_frames.frame_columns(part, signature, renamed=columns, first_row=start + 1)
        end = start + len(part)
        arrays = {spec.name: array_of_rows(found[spec.name], spec) for spec in signature.inputs}
        yield RowBatch(np.arange(start + 1, end + 1), arrays, end, fraction_read=end / len(frame))


def _iterable_batches(rows: Iterable[object], signature: Signature) -> Iterator[RowBatch]:
    """Batches of chunks of the rows. Rows of different shapes are in different batches."""
    total = len(rows) if isinstance(rows, Sized) else None
    source = iter(rows)
    done = 0
    while chunk := list(itertools.islice(source, _CHUNK_ROWS)):
        first, done = done + 1, done + len(chunk)
        fraction = None if not total else done / total
        try:
            arrays = arrays_of_rows(chunk, signature)
        except InvalidInput:  # find the row that does not fit, or keep rows of different shapes apart
            for number, row in enumerate(chunk, first):
                yield RowBatch(np.array([number]), _single_row(row, number, signature), number, fraction_read=fraction)
        else:
            yield RowBatch(np.arange(first, done + 1), arrays, done, fraction_read=fraction)


def _single_row(row: object, number: int, signature: Signature) -> dict[str, np.ndarray]:
    try:
        return arrays_of_rows([row], signature)
    except TfsctlError as error:
        message = error.message.removeprefix("row 1: ")
        for spec in signature.inputs:
            message = (
                message.replace(f"{spec.name}[0]", spec.name, 1) if message.startswith(f"{spec.name}[0]") else message
            )
        raise InvalidInput(f"row {number}: {message}", hint=error.hint) from error
