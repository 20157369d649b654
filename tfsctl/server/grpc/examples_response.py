"""Writes the responses to Classify and Regress, with the results of a few examples at a time.

Other Python threads run in between. Format: tensorflow_serving/apis/classification.proto and regression.proto.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tfsctl.core import protos
from tfsctl.core.wire_format import LENGTH_DELIMITED, encode_varint
from tfsctl.server.grpc import framing
from tfsctl.server.signatures.examples import Classes, ClassRows

if TYPE_CHECKING:
    from google.protobuf.message import Message

PIECE_RESULTS = 512  # results of examples that are written by one call
_RESULT_TAG = bytes([1 << 3 | LENGTH_DELIMITED])  # of the result in both responses


def framed_result(
    response: Message, result: Message, results: ClassRows | Sequence[float], fill: Callable[[Any, Any], None]
) -> bytes:
    """A framed response with a result. `fill` writes some of the results into the empty `result`."""
    parts = []
    for start in range(0, len(results), PIECE_RESULTS):
        result.Clear()
        fill(result, results[start : start + PIECE_RESULTS])
        parts.append(result.SerializeToString())
    head = _RESULT_TAG + encode_varint(sum(map(len, parts)))
    size = len(head) + sum(map(len, parts)) + response.ByteSize()
    return b"".join((framing.frame_prefix(size), head, *parts, response.SerializeToString()))


def fill_classifications(message: protos.ClassificationResult, results: Sequence[Classes]) -> None:
    """Append the classes of examples."""
    for row in results:
        classes = message.classifications.add().classes
        for label, score in zip(row.labels, row.scores, strict=True):
            classes.add(label=label.decode("utf-8", "replace"), score=score)


def fill_regressions(message: protos.RegressionResult, values: Sequence[float]) -> None:
    """Append the values of examples."""
    for value in values:
        message.regressions.add(value=value)
