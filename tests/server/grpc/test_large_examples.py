"""Requests with many examples are parsed, and their responses written, some examples at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tfsctl.core import protos
from tfsctl.core.arrays import object_array
from tfsctl.server.grpc import examples_response, framing
from tfsctl.server.grpc.examples_response import (
    PIECE_RESULTS,
    fill_classifications,
    fill_regressions,
    framed_result,
    framed_results,
)
from tfsctl.server.grpc.parse_in_pieces import PIECE_BYTES, parse_in_pieces
from tfsctl.server.http.exchange import GRPC_PREFIX_BYTES
from tfsctl.server.signatures.examples import ClassRows, ValueRows

MANY = 20_000
RANDOM = np.random.default_rng(1)
EXAMPLE = protos.Example()
EXAMPLE.features.feature["x"].float_list.value.append(1.5)


class Pieces:
    """A message that is parsed, and the sizes of the pieces."""

    def __init__(self, message: Any) -> None:
        self.message, self.sizes = message, list[int]()
        self.DESCRIPTOR = message.DESCRIPTOR

    def MergeFromString(self, piece: bytes) -> None:  # noqa: N802 - as protobuf names it
        """Parse a piece."""
        self.sizes.append(len(piece))
        self.message.MergeFromString(piece)


def _input(*, context: bool) -> Any:
    message = protos.Input()
    examples = [EXAMPLE] * MANY
    if context:
        message.example_list_with_context.context.CopyFrom(EXAMPLE)
        message.example_list_with_context.examples.extend(examples)
    else:
        message.example_list.examples.extend(examples)
    return message


@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize("request_type", ["ClassificationRequest", "RegressionRequest", "MultiInferenceRequest"])
def test_requests(request_type: str, *, context: bool) -> None:
    """The same message, and no piece is larger than it should be."""
    sent = getattr(protos, request_type)()
    sent.input.CopyFrom(_input(context=context))
    if request_type == "MultiInferenceRequest":
        sent.tasks.add(method_name="m")
    else:
        sent.model_spec.name = "m"
    pieces: Any = Pieces(getattr(protos, request_type)())

    parse_in_pieces(pieces, sent.SerializeToString())

    assert pieces.message == sent
    assert max(pieces.sizes) < 2 * PIECE_BYTES


def test_configurations() -> None:
    """A reload of very many models."""
    sent = protos.ReloadConfigRequest()
    for index in range(MANY):
        sent.config.model_config_list.config.add(name=f"m{index}", base_path="/models")
    pieces: Any = Pieces(protos.ReloadConfigRequest())

    parse_in_pieces(pieces, sent.SerializeToString())

    assert pieces.message == sent
    assert max(pieces.sizes) < 2 * PIECE_BYTES


def _class_rows(count: int) -> ClassRows:
    labels, scores = object_array([b"a", b"b"] * count).reshape(count, 2), RANDOM.random((count, 2), np.float32)
    return ClassRows(labels, scores, (count, 2))


def _content(framed: bytes) -> bytes:
    """The message in a frame."""
    assert framed[:GRPC_PREFIX_BYTES] == framing.frame_prefix(len(framed) - GRPC_PREFIX_BYTES)
    return framed[GRPC_PREFIX_BYTES:]


@pytest.mark.parametrize("count", [1, PIECE_RESULTS, PIECE_RESULTS + 1, 3000])
def test_classifications(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """The same response as one that is written at once."""
    rows, response = _class_rows(count), protos.ClassificationResponse(model_spec={"name": "m"})
    most: list[int] = []

    def fill(message: Any, results: Any) -> None:
        most.append(len(results))
        fill_classifications(message, results)

    monkeypatch.setattr(examples_response, "fill_classifications", fill)
    framed = framed_result(response, rows)

    expected = protos.ClassificationResponse(model_spec={"name": "m"})
    fill_classifications(expected.result, rows[:])
    assert protos.ClassificationResponse.FromString(_content(framed)) == expected
    assert max(most) <= PIECE_RESULTS


def test_regressions() -> None:
    """As above."""
    values = RANDOM.random(2000, np.float32)
    framed = framed_result(protos.RegressionResponse(), ValueRows(values))

    found = protos.RegressionResponse.FromString(_content(framed))
    assert [one.value for one in found.result.regressions] == values.tolist()


@pytest.mark.parametrize("count", [1, 3000])
def test_multi_inference(count: int) -> None:
    """The results of each task, in order."""
    rows, values = _class_rows(count), RANDOM.random(count, np.float32)
    response = protos.MultiInferenceResponse(results=[{"model_spec": {"signature_name": name}} for name in "abc"])
    framed = framed_results(response, [rows, ValueRows(values), rows])

    expected = protos.MultiInferenceResponse()
    expected.CopyFrom(response)
    fill_classifications(expected.results[0].classification_result, rows[:])
    fill_regressions(expected.results[1].regression_result, values.tolist())
    fill_classifications(expected.results[2].classification_result, rows[:])
    assert protos.MultiInferenceResponse.FromString(_content(framed)) == expected
