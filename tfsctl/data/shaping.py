"""Blocks of a file -> batches a model takes: columns matched to inputs by name, values coerced or refused by row."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from tfsctl.core.batches import Batch, Reject
from tfsctl.core.types import Signature, TensorSpec
from tfsctl.data.blocks import Block, Source, Unreadable
from tfsctl.data.cells import column_array, one_value, row_spec
from tfsctl.errors import InvalidInput
from tfsctl.inputs.predict_inputs import describe

MOST_HELD = 1000  # values of a rejected row that are kept to be shown


@dataclass(frozen=True, slots=True)
class Matching:
    """Which columns feed which input: one, or one for each value of a row (`x_0`, `x_1`, …). `unused` feed none."""

    columns: Mapping[str, tuple[str, ...]]
    unused: tuple[str, ...] = ()


def shaped(
    source: Source,
    signature: Signature,
    *,
    renamed: Mapping[str, str] | None = None,
    skip_bad_rows: bool = False,
    after: int = 0,
    note: Callable[[str], None] = lambda _text: None,
) -> Iterator[Batch]:
    """The rows of a source after the first `after`, as batches whose rows fit each other.

    `renamed` gives the column of an input where it is not the input's name. `note` is told of columns nobody wants.
    Raises InvalidInput for a column that is missing, and for the first row that does not fit, with its number; with
    `skip_bad_rows` such rows become the batches' rejects.
    """
    matching: Matching | None = None
    done = 0
    for block in source.blocks():
        if not block.count:
            continue
        if matching is None and block.names:
            matching = match(block.names, signature, source.name, renamed or {})
            if matching.unused:
                note(f"{source.name}: no input takes {', '.join(matching.unused)}")
        first, done = done + 1, done + block.count
        if done <= after:
            continue
        usual = matching if block.names else None
        for batch in _shape(block, first, usual or _nothing_read(signature), signature, source.name, skip_bad_rows):
            if batch.through > after:
                yield batch.after(after)


def match(names: Sequence[str], signature: Signature, source: str, renamed: Mapping[str, str]) -> Matching:
    """The columns of each input. Raises InvalidInput where an input has none, with what may have been meant."""
    for name in renamed:
        if signature.input(name) is None:
            raise InvalidInput(f"--column {name}=…: there is no input {name!r}; {describe(signature)}")
    columns = {spec.name: _columns_of(spec, names, signature, renamed) for spec in signature.inputs}
    for name, found in columns.items():
        if not found:
            close = difflib.get_close_matches(name, names, n=1)
            have = "its values have no names" if tuple(names) == ("",) else f"its columns: {', '.join(names)}"
            raise InvalidInput(
                f"{source} has no column {renamed.get(name, name)!r} ({have}); {describe(signature)}",
                hint=f"--column {name}={close[0] if close else 'COLUMN'} names the one to take",
            )
    used = {column for found in columns.values() for column in found}
    return Matching(columns, tuple(name for name in names if name not in used))


def _nothing_read(signature: Signature) -> Matching:
    """What a block has for each input where no row could be read: the reasons."""
    return Matching({spec.name: ("",) for spec in signature.inputs})


def _columns_of(
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


def _shape(
    block: Block, first: int, matching: Matching, signature: Signature, source: str, skip_bad_rows: bool
) -> Iterator[Batch]:
    """The batches of one block: one, if all rows fit at once."""
    arrays: dict[str, np.ndarray] = {}
    for spec in signature.inputs:
        array = _column_array(block, matching.columns[spec.name], row_spec(spec))
        if array is None:
            yield from _row_by_row(block, first, matching, signature, source, skip_bad_rows)
            return
        arrays[spec.name] = array
    last = first + block.count - 1
    yield Batch(np.arange(first, last + 1), arrays, last, labels=_labels(block, slice(None)), part=block.part)


def _column_array(block: Block, columns: Sequence[str], wanted: TensorSpec) -> np.ndarray | None:
    if len(columns) == 1:
        return column_array(block.column(columns[0]), wanted, is_text=block.is_text)
    single = TensorSpec(wanted.name, wanted.dtype, ())
    arrays = [column_array(block.column(column), single, is_text=block.is_text) for column in columns]
    present = [array for array in arrays if array is not None]
    return np.stack(present, axis=1) if len(present) == len(arrays) else None


def _row_by_row(
    block: Block, first: int, matching: Matching, signature: Signature, source: str, skip_bad_rows: bool
) -> Iterator[Batch]:
    """The slow way: find the rows that do not fit, and keep apart those whose shapes differ.

    Raises InvalidInput for the first that does not fit, after the rows before it, unless those are to be skipped.
    """
    columns = {name: [block.column(one) for one in found] for name, found in matching.columns.items()}
    good: list[tuple[int, dict[str, np.ndarray]]] = []
    rejects: list[Reject] = []
    problem: InvalidInput | None = None
    count = block.count
    for at in range(block.count):
        values = {name: found[0][at] if len(found) == 1 else [c[at] for c in found] for name, found in columns.items()}
        try:
            good.append((at, {spec.name: _one(values[spec.name], spec, block.is_text) for spec in signature.inputs}))
        except InvalidInput as error:
            if not skip_bad_rows:
                problem, count = error, at
                break
            rejects.append(Reject(first + at, error.message, _held(values)))
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
            block.part if end == block.count else None,
        )
        start = end
    if problem is not None:
        raise InvalidInput(
            f"{source} row {first + count}: {problem.message}",
            hint=problem.hint or "--on-error skip goes on without such rows, and lists them",
        ) from problem


def _one(value: object, spec: TensorSpec, is_text: bool) -> np.ndarray:
    wanted = row_spec(spec)
    if isinstance(value, list) and is_text:
        single = TensorSpec(spec.name, spec.dtype, ())
        return np.stack([one_value(cell, single, is_text=True) for cell in value])
    return one_value(value, wanted, is_text=is_text)


def _stacked(rows: list[np.ndarray]) -> np.ndarray:
    stacked = np.empty((len(rows), *rows[0].shape), dtype=rows[0].dtype)
    for at, row in enumerate(rows):
        stacked[at, ...] = row  # of text too: its content, not the array that holds it
    return stacked


def _labels(block: Block, chosen: slice | list[int]) -> dict[str, np.ndarray]:
    if block.label is None:
        return {}
    name, texts = block.label
    return {name: np.array([text.encode("utf-8", "surrogateescape") for text in texts], dtype=object)[chosen]}


def _held(values: Mapping[str, object]) -> dict[str, object]:
    """What a rejected row held, as far as JSON can say it and people would read it."""
    return {name: None if isinstance(value, Unreadable) else _shown(value) for name, value in values.items()}


def _shown(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist() if value.size <= MOST_HELD and value.dtype.kind in "iufb" else None
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
