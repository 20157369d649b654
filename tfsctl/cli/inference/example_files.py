"""`predict --file` for signatures that parse tf.Examples: the columns of the file are features."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from tfsctl.core.batches import RowBatch
from tfsctl.core.graphs.feature_specs import FeatureSpec, FeatureSpecs
from tfsctl.core.types import Signature
from tfsctl.data.blocks import Block, CellFormat, RowSource
from tfsctl.inputs.literals import parse_number
from tfsctl.inputs.tf_examples import example_of_arrays, feature_signature

_DTYPE_OF_KIND = {"f": "float32", "i": "int64", "u": "int64", "b": "int64"}


@dataclass(frozen=True, slots=True)
class _PeekedRows:
    """A source whose first block was read."""

    name: str
    first: Block
    rest: Iterator[Block]

    def blocks(self) -> Iterator[Block]:
        """All blocks. They can be read once."""
        return chain([self.first], self.rest)


def feature_rows(
    source: RowSource, signature: Signature, features: FeatureSpecs, renamed: Mapping[str, str]
) -> tuple[RowSource, Signature | None]:
    """Read the first block. Returns the source to go on with, and the signature of its rows: an input for each feature.

    It is None if the file holds serialized tf.Examples: its values have no names, or a column has the input's name.
    Without known `features`, the values of the first block decide the dtype of each column.
    """
    blocks = source.blocks()
    first = next(blocks, None)
    if first is None:
        return source, None
    peeked = _PeekedRows(source.name, first, blocks)
    input_name = signature.inputs[0].name
    if not first.names or first.names == ("",) or renamed.get(input_name, input_name) in first.names:
        return peeked, None
    names = {column: feature for feature, column in renamed.items()}
    found = features or {names.get(column, column): _spec(first, column) for column in first.names}
    columns = [names.get(column, column) for column in first.names]
    return peeked, feature_signature(signature, found, columns)


def to_examples(signature: Signature) -> Callable[[RowBatch], RowBatch]:
    """A function that converts the features of a batch to serialized tf.Examples, the signature's only input."""
    name = signature.inputs[0].name
    return lambda batch: replace(batch, arrays={name: example_of_arrays(batch.arrays)}) if len(batch) else batch


def _spec(block: Block, column: str) -> FeatureSpec:
    values = block.column(column)
    if isinstance(values, np.ndarray) and values.dtype.kind in _DTYPE_OF_KIND:
        return FeatureSpec("dense", _DTYPE_OF_KIND[values.dtype.kind], values.shape[1:], required=True)
    kinds = {_kind(value, block.cell_format(column)) for value in values}
    dtype = "string" if "string" in kinds else "float32" if "float32" in kinds else "int64"
    return FeatureSpec("dense", dtype, _row_shape(values), required=True)


def _kind(value: object, cells: CellFormat | None) -> str:
    if isinstance(value, list):
        return _kind(value[0], cells) if value else "int64"
    if cells is not None and isinstance(value, str):
        if value in cells.missing:
            return "float32"
        value = parse_number(value.replace(",", ".") if cells.decimal == "," else value)
    return "float32" if isinstance(value, float) else "int64" if isinstance(value, int) else "string"


def _row_shape(values: Iterable[object]) -> tuple[int | None, ...]:
    return (None,) if any(isinstance(value, list) for value in values) else ()
