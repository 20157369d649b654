"""Converts blocks of a file to batches for a signature.

Columns are matched to inputs by name. A block is converted at once if all values fit, otherwise row by row, so that
unfit rows are found and rows of different shapes are kept apart.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np

from tfsctl.core.batches import Reject, RowBatch, label_values
from tfsctl.core.types import Signature, TensorSpec
from tfsctl.data.blocks import Block, CellFormat, RowSource, UnreadableValue
from tfsctl.data.cells import column_array, kept_array, row_spec, value_array
from tfsctl.data.csv_format import DELIMITERS
from tfsctl.errors import InvalidInput
from tfsctl.inputs.literals import parse_number
from tfsctl.inputs.predict_inputs import describe_inputs

MAX_REJECT_VALUES = 1000  # a rejected row with more values is listed without them


@dataclass(frozen=True, slots=True)
class ColumnMatch:
    """The columns of each input: one, or one for each value of a row (`x_0`, `x_1`, …). `unused`: those of no input.

    `kept`: by the name in the results, the columns that are copied to the results.
    """

    columns: Mapping[str, tuple[str, ...]]
    unused: tuple[str, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeptColumns:
    """The columns that are copied to the results: names, comma-separated lists of names, or `all`.

    `reserved` are the columns that the results have anyway. `option` is the option that names them, or empty.
    """

    names: Sequence[str] = ()
    reserved: Collection[str] = ()
    option: str = "--keep"


NO_KEPT_COLUMNS = KeptColumns()


def shape_rows(
    source: RowSource,
    signature: Signature,
    *,
    renamed: Mapping[str, str] | None = None,
    keep: KeptColumns = NO_KEPT_COLUMNS,
    skip_bad_rows: bool = False,
    after: int = 0,
    note: Callable[[str], None] = lambda _text: None,
) -> Iterator[RowBatch]:
    """The rows of a source behind row `after`, as batches of rows with the same shapes.

    - `renamed`: by input, the name of its column if that differs from the input's name.
    - `keep`: columns that become `labels` of the batches.
    - `skip_bad_rows`: rows that do not fit become rejects of their batch.
    - `note`: called with a message about columns that no input uses.

    Raises InvalidInput for a missing column, and for the first row that does not fit unless `skip_bad_rows` is set.
    """
    matched: ColumnMatch | None = None
    done = 0
    for block in source.blocks():
        if matched is None and block.names:
            matched = match_columns(block.names, signature, source.name, renamed or {}, keep)
            if block.is_text:
                _check_header(block.names, matched, source.name)
            if matched.unused:
                note(f"{source.name}: no input uses the columns {', '.join(matched.unused)}")
        if not block.count:
            if matched is not None:  # the header of a file without rows
                yield RowBatch(np.arange(0), {}, done, labels=_labels(block, matched))
            continue
        first, done = done + 1, done + block.count
        if done <= after:
            continue
        of_block = matched if block.names else None
        for batch in _block_batches(
            block,
            first,
            of_block or _unreadable_columns(signature),
            signature,
            source.name,
            skip_bad_rows=skip_bad_rows,
        ):
            if batch.last_row > after:
                yield batch.after(after)


def match_columns(
    names: Sequence[str],
    signature: Signature,
    source: str,
    renamed: Mapping[str, str],
    keep: KeptColumns = NO_KEPT_COLUMNS,
) -> ColumnMatch:
    """Match columns to inputs. Raises InvalidInput, with the most similar name, for an input without a column."""
    for name in renamed:
        if signature.input(name) is None:
            raise InvalidInput(f"--column {name}=…: there is no input {name!r}; {describe_inputs(signature)}")
    columns = {spec.name: _columns_for(spec, names, signature, renamed) for spec in signature.inputs}
    missing = [name for name, found in columns.items() if not found]
    if missing:
        have = "its values have no names" if tuple(names) == ("",) else f"its columns: {', '.join(names)}"
        wanted = renamed.get(missing[0], missing[0])
        raise InvalidInput(
            f"{source} has no column {wanted!r} ({have}); {describe_inputs(signature)}",
            hint=_column_hint(missing, names, signature),
        )
    kept = _kept_columns(names, signature, source, keep)
    used = {column for found in columns.values() for column in found} | set(kept.values())
    return ColumnMatch(columns, tuple(name for name in names if name not in used), kept)


def _column_hint(missing: Sequence[str], names: Sequence[str], signature: Signature) -> str:
    """How to name the columns of all inputs without one."""
    delimiter = next((mark for mark in DELIMITERS if len(names) == 1 and mark in names[0]), None)
    if delimiter is not None:
        return f"--delimiter {'tab' if delimiter == chr(9) else repr(delimiter)} separates the cells there"
    by_number = " ".join(f"--column {spec.name}={at}" for at, spec in enumerate(signature.inputs, 1))
    if tuple(names) == tuple(str(number + 1) for number in range(len(names))):  # a file without a header
        return f"{by_number} names the columns"
    is_row = any(_number(one) is not None for one in names)
    if is_row and 1 < len(signature.inputs) == len(names):
        return f"if the first line is a row, add --no-header {by_number}"
    hint = f"--column {missing[0]}={_similar_column(missing[0], names)} names the one to take"
    if len(missing) > 1:
        columns = " ".join(f"--column {name}={_similar_column(name, names)}" for name in missing)
        hint = f"{columns} names the ones to take"
    return f"add --no-header if the first line is a row; {hint}" if is_row else hint


def _similar_column(name: str, names: Sequence[str]) -> str:
    by_case = [one for one in names if one.strip().lower() == name.lower()]
    close = by_case or difflib.get_close_matches(name, names, n=1)
    return shlex.quote(close[0]) if close else "COLUMN"


def _check_header(names: Sequence[str], matched: ColumnMatch, source: str) -> None:
    """Raise InvalidInput if columns were matched by their order, and the first line has numbers instead of names.

    Consecutive integers are names: pandas writes them for columns without names, and they stand for a missing header.
    """
    numbers = [_number(name) for name in names]
    if len(names) < 2 or tuple(names) not in matched.columns.values() or None in numbers:
        return
    if [number - at for at, number in enumerate(numbers) if isinstance(number, int)] != [numbers[0]] * len(names):
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        raise InvalidInput(
            f"the first line of {source} has numbers, not names: {shown}",
            hint="add --no-header if the first line is a row",
        )


def _number(name: str) -> int | float | None:
    try:
        return parse_number(name)
    except InvalidInput:  # one that is too large
        return float("inf")


def _kept_columns(names: Sequence[str], signature: Signature, source: str, keep: KeptColumns) -> dict[str, str]:
    """The columns to keep, by their name in the results. Values without a name are called like the only input.

    Raises InvalidInput for an unknown column, and for one that would have the name of another column of the results.
    """
    named = {name or signature.inputs[0].name: name for name in names}
    wanted: list[str] = []
    for text in keep.names:
        parts = (
            [text] if text in named else list(named) if text == "all" else [part.strip() for part in text.split(",")]
        )
        wanted += [part for part in parts if part not in wanted]
    for name in wanted:
        if name not in named:
            close = difflib.get_close_matches(name, named, n=1)
            if not keep.option:
                raise InvalidInput(
                    f"{source} has no column {name!r}, only {', '.join(named)}",
                    hint=f"did you mean {close[0]}?" if close else "",
                )
            raise InvalidInput(
                f"--keep {name}: {source} has no such column, only {', '.join(named)}",
                hint=f"--keep {close[0]}" if close else "--keep all keeps all columns",
            )
    clashing = [name for name in wanted if name in keep.reserved]
    if clashing:
        rest = ",".join(name for name in wanted if name not in clashing)
        raise InvalidInput(
            f"--keep: {', '.join(clashing)} of {source} has the same name as a column of the results",
            hint=f"--keep {rest} keeps the others" if rest else "rename the column in the file",
        )
    return {name: named[name] for name in wanted}


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
    if is_only and tuple(names) in (("",), ("1",)):  # values without names, or a file without a header
        return tuple(names)
    if spec.shape is None or len(spec.shape) != 2 or spec.shape[1] in (None, 1):
        return ()
    numbered = tuple(f"{wanted}_{index}" for index in range(spec.shape[1] or 0))
    if all(name in names for name in numbered):
        return numbered
    return tuple(names) if is_only and spec.name not in renamed and len(names) == spec.shape[1] else ()


def _block_batches(
    block: Block, first: int, matched: ColumnMatch, signature: Signature, source: str, *, skip_bad_rows: bool
) -> Iterator[RowBatch]:
    """The batches of one block; a single one if all of its values can be converted at once."""
    arrays: dict[str, np.ndarray] = {}
    for spec in signature.inputs:
        array = _column_array(block, matched.columns[spec.name], row_spec(spec))
        if array is None:
            yield from _row_by_row(block, first, matched, signature, source, skip_bad_rows=skip_bad_rows)
            return
        arrays[spec.name] = array
    last = first + block.count - 1
    yield RowBatch(
        np.arange(first, last + 1), arrays, last, labels=_labels(block, matched), fraction_read=block.fraction_read
    )


def _column_array(block: Block, columns: Sequence[str], row: TensorSpec) -> np.ndarray | None:
    if len(columns) == 1:
        return column_array(block.column(columns[0]), row, block.cell_format(columns[0]))
    single = TensorSpec(row.name, row.dtype, ())
    arrays = [column_array(block.column(column), single, block.cell_format(column)) for column in columns]
    present = [array for array in arrays if array is not None]
    return np.stack(present, axis=1) if len(present) == len(arrays) else None


def _row_by_row(
    block: Block, first: int, matched: ColumnMatch, signature: Signature, source: str, *, skip_bad_rows: bool
) -> Iterator[RowBatch]:
    """Convert a block row by row; consecutive rows of the same shapes form one batch.

    Raises InvalidInput for the first row that does not fit, after the rows before it, unless `skip_bad_rows` is set.
    """
    columns = {name: [block.column(one) for one in found] for name, found in matched.columns.items()}
    formats = {name: [block.cell_format(one) for one in found] for name, found in matched.columns.items()}
    labels = _labels(block, matched)
    good: list[tuple[int, dict[str, np.ndarray]]] = []
    rejects: list[Reject] = []
    problem: InvalidInput | None = None
    count = block.count
    for at in range(block.count):
        values = {name: found[0][at] if len(found) == 1 else [c[at] for c in found] for name, found in columns.items()}
        try:
            good.append(
                (at, {spec.name: _row_array(values[spec.name], spec, formats[spec.name]) for spec in signature.inputs})
            )
        except InvalidInput as error:
            if not skip_bad_rows:
                problem, count = error, at
                break
            rejects.append(Reject(first + at, error.message, _reject_values(values), label_values(labels, at)))
    groups = [list(group) for _, group in groupby(good, lambda row: [array.shape for array in row[1].values()])]
    ends = [group[0][0] for group in groups[1:]] + [count]
    start = 0
    for group, end in zip(groups or [[]], ends, strict=True):
        arrays = {spec.name: _stacked([row[spec.name] for _, row in group]) for spec in signature.inputs if group}
        yield RowBatch(
            np.array([first + at for at, _ in group], dtype=np.int64),
            arrays,
            first + end - 1,
            tuple(reject for reject in rejects if start <= reject.row - first < end),
            {name: array[[at for at, _ in group]] for name, array in labels.items()},
            block.fraction_read if end == block.count else None,
        )
        start = end
    if problem is not None:
        raise InvalidInput(
            f"{source} row {first + count}: {problem.message}",
            hint=problem.hint or "--on-error skip --output FILE skips such rows, and lists them",
        ) from problem


def _row_array(value: object, spec: TensorSpec, formats: Sequence[CellFormat | None]) -> np.ndarray:
    if isinstance(value, list) and formats[0] is not None:  # one cell per value of the row
        single = TensorSpec(spec.name, spec.dtype, ())
        return np.stack([value_array(cell, single, cells) for cell, cells in zip(value, formats, strict=True)])
    return value_array(value, row_spec(spec), formats[0])


def _stacked(rows: list[np.ndarray]) -> np.ndarray:
    stacked = np.empty((len(rows), *rows[0].shape), dtype=rows[0].dtype)
    for at, row in enumerate(rows):
        stacked[at, ...] = row  # with `...` an array of strings is unpacked, not stored as one object
    return stacked


def _labels(block: Block, matched: ColumnMatch) -> dict[str, np.ndarray]:
    """The columns of a block that are copied to the results."""
    labels = {} if block.label is None else {block.label[0]: kept_array(block.label[1])}
    return labels | {name: kept_array(block.column(column)) for name, column in matched.kept.items()}


def _reject_values(values: Mapping[str, object]) -> dict[str, object]:
    """The values of a rejected row as JSON values; None for those that are unreadable, or too many to list."""
    return {name: None if isinstance(value, UnreadableValue) else _json_value(value) for name, value in values.items()}


def _json_value(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.tolist() if value.size <= MAX_REJECT_VALUES and value.dtype.kind in "iufb" else None
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
