"""Writes the responses to Classify, Regress and MultiInference, with the results of a few examples at a time.

Other Python threads run in between. Format: tensorflow_serving/apis/classification.proto, regression.proto and
inference.proto.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from tfsctl.core import protos
from tfsctl.core.wire_format import LENGTH_DELIMITED, encode_varint
from tfsctl.server.grpc import framing
from tfsctl.server.signatures.examples import Classes, ClassRows, Results

PIECE_RESULTS = 512  # results of examples that are written by one call
_RESULT = 1  # field number of the result in the responses to Classify and Regress, and of each in MultiInference's
_CLASSIFICATION, _REGRESSION = 2, 3  # field numbers of InferenceResult


def framed_result(response: protos.ClassificationResponse | protos.RegressionResponse, results: Results) -> bytes:
    """A framed response to Classify or Regress, with the results. `response` has the other fields."""
    if len(results) <= PIECE_RESULTS:  # as below, for one example in 7.4 instead of 8.9 us
        _fill(response.result, results, slice(None))
        return _framed([response.SerializeToString()])
    return _framed([*_field(_RESULT, _pieces(results)), response.SerializeToString()])


def framed_result_after_spec(
    kind: type[protos.ClassificationResponse | protos.RegressionResponse], spec: bytes, results: Results
) -> bytes:
    """A framed response like `framed_result`. `spec` is the serialized response without results."""
    response = kind()
    _fill(response.result, results, slice(None))
    return _framed([response.SerializeToString(), spec])


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
        message = protos.ClassificationResult() if isinstance(results, ClassRows) else protos.RegressionResult()
        _fill(message, results, slice(start, start + PIECE_RESULTS))
        pieces.append(message.SerializeToString())
    return pieces


def _fill(message: protos.ClassificationResult | protos.RegressionResult, results: Results, rows: slice) -> None:
    message.SetInParent()  # also without results
    if isinstance(results, ClassRows):
        fill_classifications(cast("protos.ClassificationResult", message), results[rows])
    else:
        fill_regressions(cast("protos.RegressionResult", message), results[rows])


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
