"""Converts blocks of a file to batches for a signature.

Columns are matched to inputs by name. A block is converted at once if all of its values fit, else row by row, so that
unfit rows are found and rows of different shapes are kept apart.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from tfsctl.core.batches import Batch, Reject
from tfsctl.core.types import Signature, TensorSpec
from tfsctl.data.blocks import Block, RowSource, UnreadableValue
from tfsctl.data.cells import column_array, row_spec, value_array
from tfsctl.errors import InvalidInput
from tfsctl.inputs.predict_inputs import describe_inputs

MAX_REJECT_VALUES = 1000  # a rejected row with more values is listed without them


@dataclass(frozen=True, slots=True)
class ColumnMatch:
    """The columns of each input: one, or one for each value of a row (`x_0`, `x_1`, …). `unused`: those of no input."""

    columns: Mapping[str, tuple[str, ...]]
    unused: tuple[str, ...] = ()


def shape_rows(
    source: RowSource,
    signature: Signature,
    *,
    renamed: Mapping[str, str] | None = None,
    skip_bad_rows: bool = False,
    after: int = 0,
    note: Callable[[str], None] = lambda _text: None,
) -> Iterator[Batch]:
    """The rows of a source behind row `after`, as batches of rows with the same shapes.

    - `renamed`: by input, the name of its column if that differs from the input's name.
    - `skip_bad_rows`: rows that do not fit become rejects of their batch.
    - `note`: called with a message about columns that no input uses.

    Raises InvalidInput for a missing column, and for the first row that does not fit unless `skip_bad_rows` is set.
    """
    matched: ColumnMatch | None = None
    done = 0
    for block in source.blocks():
        if not block.count:
            continue
        if matched is None and block.names:
            matched = match_columns(block.names, signature, source.name, renamed or {})
            if matched.unused:
                note(f"{source.name}: no input takes {', '.join(matched.unused)}")
        first, done = done + 1, done + block.count
        if done <= after:
            continue
        of_block = matched if block.names else None
        for batch in _block_batches(
            block, first, of_block or _unreadable_columns(signature), signature, source.name, skip_bad_rows
        ):
            if batch.last_row > after:
                yield batch.after(after)


def match_columns(names: Sequence[str], signature: Signature, source: str, renamed: Mapping[str, str]) -> ColumnMatch:
    """Match columns to inputs. Raises InvalidInput, with the most similar name, for an input without a column."""
    for name in renamed:
        if signature.input(name) is None:
            raise InvalidInput(f"--column {name}=…: there is no input {name!r}; {describe_inputs(signature)}")
    columns = {spec.name: _columns_for(spec, names, signature, renamed) for spec in signature.inputs}
    for name, found in columns.items():
        if not found:
            close = difflib.get_close_matches(name, names, n=1)
            have = "its values have no names" if tuple(names) == ("",) else f"its columns: {', '.join(names)}"
            raise InvalidInput(
                f"{source} has no column {renamed.get(name, name)!r} ({have}); {describe_inputs(signature)}",
                hint=f"--column {name}={close[0] if close else 'COLUMN'} names the one to take",
            )
    used = {column for found in columns.values() for column in found}
    return ColumnMatch(columns, tuple(name for name in names if name not in used))


def _unreadable_columns(signature: Signature) -> ColumnMatch:
    """The columns of a block without a readable row: they hold the reasons."""
    return ColumnMatch({spec.name: ("",) for spec in signature.inputs})


def _columns_for(
    spec: TensorSpec, names: Sequence[str], signature: Signature, renamed: Mapping[str, str]
) -> tuple[str, ...]:
    wanted = renamed.get(spec.name, spec.name)
    if wanted in names:
        return (wanted,)
    is_only = len(signature.inputs) == 1
    if is_only and tuple(names) == ("",):
        return ("",)
    if spec.shape is None or len(spec.shape) != 2 or spec.shape[1] in (None, 1):
        return ()
    numbered = tuple(f"{wanted}_{index}" for index in range(spec.shape[1] or 0))
    if all(name in names for name in numbered):
        return numbered
    return tuple(names) if is_only and spec.name not in renamed and len(names) == spec.shape[1] else ()


def _block_batches(
    block: Block, first: int, matched: ColumnMatch, signature: Signature, source: str, skip_bad_rows: bool
) -> Iterator[Batch]:
    """The batches of one block; a single one if all of its values can be converted at once."""
    arrays: dict[str, np.ndarray] = {}
    for spec in signature.inputs:
        array = _column_array(block, matched.columns[spec.name], row_spec(spec))
        if array is None:
            yield from _row_by_row(block, first, matched, signature, source, skip_bad_rows)
            return
        arrays[spec.name] = array
    last = first + block.count - 1
    yield Batch(
        np.arange(first, last + 1), arrays, last, labels=_labels(block, slice(None)), fraction_read=block.fraction_read
    )


def _column_array(block: Block, columns: Sequence[str], row: TensorSpec) -> np.ndarray | None:
    if len(columns) == 1:
        return column_array(block.column(columns[0]), row, is_text=block.is_text)
    single = TensorSpec(row.name, row.dtype, ())
    arrays = [column_array(block.column(column), single, is_text=block.is_text) for column in columns]
    present = [array for array in arrays if array is not None]
    return np.stack(present, axis=1) if len(present) == len(arrays) else None


def _row_by_row(
    block: Block, first: int, matched: ColumnMatch, signature: Signature, source: str, skip_bad_rows: bool
) -> Iterator[Batch]:
    """Convert a block row by row; consecutive rows of the same shapes form one batch.

    Raises InvalidInput for the first row that does not fit, after the rows before it, unless `skip_bad_rows` is set.
    """
    columns = {name: [block.column(one) for one in found] for name, found in matched.columns.items()}
    good: list[tuple[int, dict[str, np.ndarray]]] = []
    rejects: list[Reject] = []
    problem: InvalidInput | None = None
    count = block.count
    for at in range(block.count):
        values = {name: found[0][at] if len(found) == 1 else [c[at] for c in found] for name, found in columns.items()}
        try:
            good.append(
                (at, {spec.name: _row_array(values[spec.name], spec, block.is_text) for spec in signature.inputs})
            )
        except InvalidInput as error:
            if not skip_bad_rows:
                problem, count = error, at
                break
            rejects.append(Reject(first + at, error.message, _reject_values(values)))
    groups = [list(group) for _, group in groupby(good, lambda row: [array.shape for array in row[1].values()])]
    ends = [group[0][0] for group in groups[1:]] + [count]
    start = 0
    for group, end in zip(groups or [[]], ends, strict=True):
        arrays = {spec.name: _stacked([row[spec.name] for _, row in group]) for spec in signature.inputs if group}
        yield Batch(
            np.array([first + at for at, _ in group], dtype=np.int64),
            arrays,
            first + end - 1,
            tuple(reject for reject in rejects if start <= reject.row - first < end),
            _labels(block, [at for at, _ in group]),
            block.fraction_read if end == block.count else None,
        )
        start = end
    if problem is not None:
        raise InvalidInput(
            f"{source} row {first + count}: {problem.message}",
            hint=problem.hint or "--on-error skip goes on without such rows, and lists them",
        ) from problem


def _row_array(value: object, spec: TensorSpec, is_text: bool) -> np.ndarray:
    if isinstance(value, list) and is_text:  # one cell per value of the row
        single = TensorSpec(spec.name, spec.dtype, ())
        return np.stack([value_array(cell, single, is_text=True) for cell in value])
    return value_array(value, row_spec(spec), is_text=is_text)


def _stacked(rows: list[np.ndarray]) -> np.ndarray:
    stacked = np.empty((len(rows), *rows[0].shape), dtype=rows[0].dtype)
    for at, row in enumerate(rows):
        stacked[at, ...] = row  # with `...` an array of strings is unpacked, not stored as one object
    return stacked


def _labels(block: Block, rows: slice | list[int]) -> dict[str, np.ndarray]:
    if block.label is None:
        return {}
    name, texts = block.label
    return {name: np.array([text.encode("utf-8", "surrogateescape") for text in texts], dtype=object)[rows]}


def _reject_values(values: Mapping[str, object]) -> dict[str, object]:
    """The values of a rejected row as JSON values; None for those that are unreadable, or too many to list."""
    return {name: None if isinstance(value, UnreadableValue) else _json_value(value) for name, value in values.items()}


def _json_value(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist() if value.size <= MAX_REJECT_VALUES and value.dtype.kind in "iufb" else None
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
