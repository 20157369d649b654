"""Writes the responses to Classify, Regress and MultiInference, with the results of a few examples at a time.

Other Python threads run in between. Format: tensorflow_serving/apis/classification.proto, regression.proto and
inference.proto.
"""

from __future__ import annotations

from collections.abc import Sequence

from tfsctl.core import protos
from tfsctl.core.wire_format import LENGTH_DELIMITED, encode_varint
from tfsctl.server.grpc import framing
from tfsctl.server.process.loop_yield import yield_to_loop
from tfsctl.server.signatures.examples import Classes, ClassRows, Results

PIECE_RESULTS = 512  # results of examples that are written by one call
_RESULT = 1  # field number of the result in the responses to Classify and Regress, and of each in MultiInference's
_CLASSIFICATION, _REGRESSION = 2, 3  # field numbers of InferenceResult


def serialized_spec(spec: protos.ModelSpec) -> bytes:
    """A serialized response to Classify or Regress, which have the same fields, without results."""
    return protos.ClassificationResponse(model_spec=spec).SerializeToString()


def framed_result(spec: bytes, results: Results) -> bytes:
    """A framed response to Classify or Regress. `spec` is what `serialized_spec` returned."""
    return _framed([*_field(_RESULT, _pieces(results)), spec])


def framed_results(response: protos.MultiInferenceResponse, results_of_tasks: Sequence[Results]) -> bytes:
    """A framed response to MultiInference, with the results of each task. `response` has the models of all tasks."""
    parts: list[bytes] = []
    for entry, results in zip(response.results, results_of_tasks, strict=True):
        kind = _CLASSIFICATION if isinstance(results, ClassRows) else _REGRESSION
        parts += _field(_RESULT, [entry.SerializeToString(), *_field(kind, _pieces(results))])
    return _framed(parts)


def _framed(parts: Sequence[bytes]) -> bytes:
    return b"".join((framing.frame_prefix(sum(map(len, parts))), *parts))


def _field(number: int, pieces: Sequence[bytes]) -> list[bytes]:
    """A message field whose serialized value is in pieces."""
    return [encode_varint(number << 3 | LENGTH_DELIMITED) + encode_varint(sum(map(len, pieces))), *pieces]


def _pieces(results: Results) -> list[bytes]:
    """A serialized ClassificationResult or RegressionResult, in pieces."""
    pieces = []
    for start in range(0, len(results), PIECE_RESULTS):
        rows = slice(start, start + PIECE_RESULTS)
        message = classifications(results[rows]) if isinstance(results, ClassRows) else regressions(results[rows])
        pieces.append(message.SerializeToString())
        yield_to_loop()
    return pieces


def classifications(rows: Sequence[Classes]) -> protos.ClassificationResult:
    """The message with the classes of some examples."""
    message = protos.ClassificationResult()
    for row in rows:
        classes = message.classifications.add().classes
        for label, score in zip(row.labels, row.scores, strict=True):
            classes.add(label=label.decode("utf-8", "replace"), score=score)
    return message


def regressions(values: Sequence[float]) -> protos.RegressionResult:
    """The message with the values of some examples."""
    message = protos.RegressionResult()
    for value in values:
        message.regressions.add(value=value)
    return message
