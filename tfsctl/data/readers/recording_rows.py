"""Reads rows from recordings: each row of a recorded request is a row, and its inputs are the columns.

Of Classify, Regress and MultiInference requests, each tf.Example is a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tfsctl.core import protos, tensors
from tfsctl.core.types import DEFAULT_SIGNATURE, Signature
from tfsctl.data.blocks import BLOCK_BYTES, MAX_BLOCK_ROWS, Block, UnreadableValue
from tfsctl.data.readers.prediction_logs import RecordedRequest, read_recording
from tfsctl.errors import InvalidInput

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class RecordingRows:
    """The rows of the requests for one signature. `note` is called with how many requests were for others."""

    name: str
    path: Path | str
    signature: Signature
    note: Callable[[str], None] = field(default=lambda _text: None)

    def blocks(self) -> Iterator[Block]:
        """All rows. Raises NotFound, and InvalidInput if the file is not a recording or has no request for it."""
        rows: list[Row] = []
        size, others, used = 0, 0, 0
        for request in read_recording(self.path, note=self.note):
            if self.signature.name not in _signatures(request.log):
                others += 1
                continue
            used += 1
            rows += request_rows(request, self.signature)
            size += request.size
            if size >= BLOCK_BYTES or len(rows) >= MAX_BLOCK_ROWS:
                yield _block(rows, request.fraction_read)
                rows, size = [], 0
        if rows:
            yield _block(rows, 1.0)
        if others and not used:
            raise InvalidInput(f"{self.name} has no request for the signature {self.signature.name}")
        if others:
            self.note(f"{self.name}: skipped {others:,} requests for signatures other than {self.signature.name}")


def request_rows(request: RecordedRequest, signature: Signature) -> list[Row]:
    """The rows of one request, by input. Raises InvalidInput if its tensors cannot be read."""
    if not request.log.HasField("predict_log"):
        return _example_rows(request.log, signature)
    arrays = {}
    for name, proto in request.log.predict_log.request.inputs.items():
        try:
            arrays[name] = tensors.from_proto(proto)
        except InvalidInput as error:
            raise InvalidInput(f"{request.place}: input {name}: {error.message}") from error
    batched = {spec.name for spec in signature.inputs if spec.shape is None or spec.shape[:1] == (None,)}
    if not batched.issuperset(arrays) and not batched.intersection(arrays):
        return [{name: array.tolist() for name, array in arrays.items()}]
    lengths = {len(array) for name, array in arrays.items() if array.ndim and name in batched} or {1}
    if len(lengths) > 1:
        raise InvalidInput(f"{request.place}: its inputs have different numbers of rows: {sorted(lengths)}")
    count = lengths.pop()
    columns = {
        name: array.tolist() if array.ndim and name in batched else [array.tolist()] * count
        for name, array in arrays.items()
    }
    return [{name: values[row] for name, values in columns.items()} for row in range(count)]


def _example_rows(log: protos.PredictionLog, signature: Signature) -> list[Row]:
    sent = getattr(log, log.WhichOneof("log_type") or "").request.input
    kind = sent.WhichOneof("kind")
    listed = getattr(sent, kind) if kind else None
    if listed is None:
        return []
    examples = [example.SerializeToString() for example in listed.examples]
    if kind == "example_list_with_context":
        context = listed.context.SerializeToString()  # concatenated messages are merged when they are parsed
        examples = [context + example for example in examples]
    if len(signature.inputs) == 1 and signature.inputs[0].dtype == "string":
        return [{signature.inputs[0].name: example} for example in examples]
    return [_features(example) for example in examples]


def _features(example: bytes) -> Row:
    found: dict[str, object] = {}
    for name, feature in protos.Example.FromString(example).features.feature.items():
        kind = feature.WhichOneof("kind")
        values = list(getattr(feature, kind).value) if kind else []
        found[name] = values[0] if len(values) == 1 else values
    return found


def _signatures(log: protos.PredictionLog) -> list[str]:
    """The signatures that a request runs."""
    if log.HasField("session_run_log"):
        return []
    request = getattr(log, log.WhichOneof("log_type") or "").request
    specs = [task.model_spec for task in request.tasks] if log.HasField("multi_inference_log") else [request.model_spec]
    return [spec.signature_name or DEFAULT_SIGNATURE for spec in specs]


def _block(rows: Sequence[Row], fraction: float | None) -> Block:
    names = tuple(dict.fromkeys(name for row in rows for name in row))
    return Block(len(rows), names, partial(_column, rows), fraction_read=fraction)


def _column(rows: Sequence[Row], name: str) -> list[object]:
    return [row.get(name, UnreadableValue()) for row in rows]
