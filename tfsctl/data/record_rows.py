"""TFRecord files: tf.Examples whose features are the inputs, or records that a model parses itself."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tfsctl.core import protos
from tfsctl.core.tfrecord import records_of
from tfsctl.core.types import Signature
from tfsctl.data.blocks import Block, Pace, Unreadable, opened
from tfsctl.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class RecordRows:
    """A row a record.

    A model with one input of strings gets the records as they are, unless they are Examples with a feature of that
    input's name; any other gets the features by name.
    """

    name: str
    path: Path | str
    signature: Signature

    def blocks(self) -> Iterator[Block]:
        """All rows. Raises InvalidInput at the first damaged record, after those before it; NotFound."""
        pace, as_they_are = Pace(), None
        with opened(self.path) as (file, progress):
            records = records_of(file)
            while True:
                some, damage = _next(records, pace.rows)
                if some:
                    pace.learn(len(some), sum(map(len, some)))
                    as_they_are = self._as_they_are(some[0]) if as_they_are is None else as_they_are
                    yield self._block(some, progress.part(), as_they_are=as_they_are)
                if damage is not None:
                    raise InvalidInput(f"{self.name}: {damage.message}") from damage
                if not some:
                    return

    def _block(self, records: list[bytes], part: float | None, *, as_they_are: bool) -> Block:
        if as_they_are:
            return Block(len(records), ("",), partial(_same, records), part=part)
        features = [_features(record) for record in records]
        names = dict.fromkeys(name for one in features if not isinstance(one, Unreadable) for name in one)
        truths = {spec.name for spec in self.signature.inputs if spec.dtype == "bool"}
        return Block(len(records), tuple(names), partial(_column, features, truths), part=part)

    def _as_they_are(self, record: bytes) -> bool:
        if len(self.signature.inputs) != 1 or self.signature.inputs[0].dtype != "string":
            return False
        features = _features(record)
        return isinstance(features, Unreadable) or self.signature.inputs[0].name not in features


def _features(record: bytes) -> Mapping[str, protos.Feature] | Unreadable:
    from google.protobuf.message import DecodeError

    try:
        return protos.Example.FromString(record).features.feature
    except DecodeError:
        return Unreadable("the record is no tf.Example")


def _next(records: Iterator[bytes], count: int) -> tuple[list[bytes], InvalidInput | None]:
    """Some records, and what is wrong with the one after them."""
    some: list[bytes] = []
    try:
        some.extend(islice(records, count))
    except InvalidInput as error:
        return some, error
    return some, None


def _column(rows: Sequence[Any], truths: Collection[str], name: str) -> list[Any]:
    return [row if isinstance(row, Unreadable) else _values(row, name, name in truths) for row in rows]


def _values(features: Mapping[str, protos.Feature], name: str, is_truth: bool) -> object:
    """The values of a feature: a list, or the only one. Examples have whole numbers for truth values."""
    if name not in features:
        return Unreadable()
    feature = features[name]
    kind = feature.WhichOneof("kind")
    values = list(getattr(feature, kind).value) if kind else []
    if is_truth and kind == "int64_list":
        values = [bool(value) if value in (0, 1) else value for value in values]
    return values[0] if len(values) == 1 else values


def _same(records: list[bytes], _name: str) -> list[bytes]:
    return records
