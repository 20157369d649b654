"""Reads rows from TFRecord files: tf.Examples with a feature per input, or records that the model parses itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tfsctl.core import protos
from tfsctl.core.tfrecord import iter_records
from tfsctl.core.types import Signature
from tfsctl.data.blocks import Block, BlockSizer, UnreadableValue, open_file, single_column
from tfsctl.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class RecordRows:
    """One row per record.

    If the model's only input takes strings, it gets the serialized records, unless the first one is a tf.Example with a
    feature of that input's name. In all other cases each feature is a column.
    """

    name: str
    path: Path | str
    signature: Signature

    def blocks(self) -> Iterator[Block]:
        """All rows. Raises NotFound, and InvalidInput at the first damaged record, after the rows before it."""
        sizer, serialized = BlockSizer(), None
        with open_file(self.path) as (file, position):
            records = iter_records(file)
            while True:
                batch, damage = _next_records(records, sizer.rows)
                if batch:
                    sizer.record(len(batch), sum(map(len, batch)))
                    serialized = self._takes_serialized(batch[0]) if serialized is None else serialized
                    yield self._block(batch, position.fraction(), serialized=serialized)
                if damage is not None:
                    raise InvalidInput(f"{self.name}: {damage.message}") from damage
                if not batch:
                    return

    def _block(self, records: list[bytes], part: float | None, *, serialized: bool) -> Block:
        if serialized:
            return Block(len(records), ("",), single_column(records), fraction_read=part)
        features = [_features(record) for record in records]
        names = dict.fromkeys(name for one in features if not isinstance(one, UnreadableValue) for name in one)
        boolean_inputs = {spec.name for spec in self.signature.inputs if spec.dtype == "bool"}
        return Block(len(records), tuple(names), partial(_column, features, boolean_inputs), fraction_read=part)

    def _takes_serialized(self, record: bytes) -> bool:
        if len(self.signature.inputs) != 1 or self.signature.inputs[0].dtype != "string":
            return False
        features = _features(record)
        return isinstance(features, UnreadableValue) or self.signature.inputs[0].name not in features


def _features(record: bytes) -> Mapping[str, protos.Feature] | UnreadableValue:
    from google.protobuf.message import DecodeError

    try:
        return protos.Example.FromString(record).features.feature
    except DecodeError:
        return UnreadableValue("the record is not a tf.Example")


def _next_records(records: Iterator[bytes], count: int) -> tuple[list[bytes], InvalidInput | None]:
    """Up to `count` records, and the error of the record behind them if that one is damaged."""
    batch: list[bytes] = []
    try:
        batch.extend(islice(records, count))
    except InvalidInput as error:
        return batch, error
    return batch, None


def _column(rows: Sequence[Any], boolean_inputs: Collection[str], name: str) -> list[Any]:
    is_boolean = name in boolean_inputs
    return [row if isinstance(row, UnreadableValue) else _values(row, name, is_boolean=is_boolean) for row in rows]


def _values(features: Mapping[str, protos.Feature], name: str, *, is_boolean: bool) -> object:
    """The values of a feature: a list, or the single value. tf.Examples hold booleans as integers."""
    if name not in features:
        return UnreadableValue()
    feature = features[name]
    kind = feature.WhichOneof("kind")
    values = list(getattr(feature, kind).value) if kind else []
    if is_boolean and kind == "int64_list":
        values = [bool(value) if value in (0, 1) else value for value in values]
    return values[0] if len(values) == 1 else values
