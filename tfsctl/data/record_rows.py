"""TFRecord files: tf.Examples whose features are the inputs, or records that a model parses itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tfsctl.core import protos
from tfsctl.core.tfrecord import read_records
from tfsctl.core.types import Signature
from tfsctl.data.blocks import Block, Pace, Unreadable
from tfsctl.errors import InvalidInput, NotFound

_FRAME_BYTES = 16


@dataclass(frozen=True, slots=True)
class RecordRows:
    """A row a record.

    A model with one input of strings gets the records as they are, unless they are Examples with a feature of that
    input's name; any other gets the features by name.
    """

    name: str
    path: Path
    signature: Signature

    def blocks(self) -> Iterator[Block]:
        """All rows. Raises InvalidInput at the first damaged record, NotFound."""
        try:
            size = self.path.stat().st_size
            records = read_records(self.path)
            yield from self._blocks(records, size)
        except FileNotFoundError as error:
            raise NotFound(f"there is no file {self.path}") from error
        except OSError as error:
            raise InvalidInput(f"cannot read {self.path}: {error.strerror}") from error
        except InvalidInput as error:
            raise InvalidInput(f"{self.name}: {error.message}") from error

    def _blocks(self, records: Iterator[bytes], size: int) -> Iterator[Block]:
        pace, done = Pace(), 0
        as_they_are: bool | None = None
        while some := list(islice(records, pace.rows)):
            length = sum(map(len, some))
            pace.learn(len(some), length)
            done += length + _FRAME_BYTES * len(some)
            if as_they_are is None:
                as_they_are = self._as_they_are(some[0])
            if as_they_are:
                yield Block(len(some), ("",), partial(_same, some), part=done / size)
            else:
                features = [_features(record) for record in some]
                names = dict.fromkeys(name for one in features if not isinstance(one, Unreadable) for name in one)
                yield Block(len(some), tuple(names), partial(_column, features), part=done / size)

    def _as_they_are(self, record: bytes) -> bool:
        if len(self.signature.inputs) != 1 or self.signature.inputs[0].dtype != "string":
            return False
        features = _features(record)
        return isinstance(features, Unreadable) or self.signature.inputs[0].name not in features


def _features(record: bytes) -> Any:  # noqa: ANN401 - a generated map of Features
    from google.protobuf.message import DecodeError

    try:
        return protos.Example.FromString(record).features.feature
    except DecodeError:
        return Unreadable("the record is no tf.Example")


def _column(rows: Sequence[Any], name: str) -> list[Any]:
    return [row if isinstance(row, Unreadable) else _values(row, name) for row in rows]


def _values(features: Any, name: str) -> Any:  # noqa: ANN401 - a generated map of Features, and what it holds
    """The values of a feature: a list, or the only one."""
    if name not in features:
        return Unreadable()
    feature = features[name]
    kind = feature.WhichOneof("kind")
    values = list(getattr(feature, kind).value) if kind else []
    return values[0] if len(values) == 1 else values


def _same(records: list[bytes], _name: str) -> list[bytes]:
    return records
