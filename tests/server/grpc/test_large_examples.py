"""Requests with many examples are parsed, and their responses written, some examples at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError

from tfsctl.core import protos
from tfsctl.core.arrays import object_array
from tfsctl.server.grpc import examples_response, framing
from tfsctl.server.grpc import parse_in_pieces as parse_module
from tfsctl.server.grpc.examples_response import (
    PIECE_RESULTS,
    classifications,
    framed_result,
    framed_results,
    regressions,
    serialized_spec,
)
from tfsctl.server.grpc.parse_in_pieces import PIECE_BYTES, ExamplesRequest, parse_in_pieces, parse_request
from tfsctl.server.request_body import GRPC_PREFIX_BYTES
from tfsctl.server.signatures.examples import ClassRows, ValueRows
from tfsctl.server.signatures.serialized_input import (
    SerializedInput,
    context_bytes,
    example_count,
    serialized_examples,
)

MANY = 20_000
RANDOM = np.random.default_rng(1)
EXAMPLE = protos.Example()
EXAMPLE.features.feature["x"].float_list.value.append(1.5)


def _input(*, context: bool) -> Any:
    message = protos.Input()
    examples = [EXAMPLE] * MANY
    if context:
        message.example_list_with_context.context.CopyFrom(EXAMPLE)
        message.example_list_with_context.examples.extend(examples)
    else:
        message.example_list.examples.extend(examples)
    return message


def _request(request_type: str, *, context: bool) -> Any:
    sent = getattr(protos, request_type)()
    sent.input.CopyFrom(_input(context=context))
    if request_type == "MultiInferenceRequest":
        sent.tasks.add(method_name="m")
    else:
        sent.model_spec.name = "m"
    return sent


@pytest.mark.parametrize("context", [False, True])
@pytest.mark.parametrize("request_type", ["ClassificationRequest", "RegressionRequest", "MultiInferenceRequest"])
def test_large_requests_are_parsed_in_pieces(
    monkeypatch: pytest.MonkeyPatch, request_type: str, *, context: bool
) -> None:
    """The same examples as in one message, but no message has more of them than fit into a piece."""
    sent = _request(request_type, context=context)
    sizes: list[int] = []
    add = SerializedInput.__init__

    def counted(given: SerializedInput, messages: Iterable[Any], *, nbytes: int | None = None) -> None:
        def noted() -> Iterator[Any]:
            for message in messages:
                sizes.append(message.ByteSize())
                yield message

        add(given, noted(), nbytes=nbytes)

    monkeypatch.setattr(SerializedInput, "__init__", counted)
    found: Any = parse_request(type(sent)(), sent.SerializeToString())

    assert isinstance(found, ExamplesRequest)
    assert len(sizes) > 5
    assert max(sizes) < 2 * PIECE_BYTES
    assert example_count(found.input) == MANY
    assert context_bytes(found.input) == context_bytes(sent.input)
    assert serialized_examples(found.input).tolist() == serialized_examples(sent.input).tolist()
    sent.ClearField("input")
    assert found.message == sent
    assert found.model_spec is None if "Multi" in request_type else found.model_spec.name == "m"


def test_the_last_kind_of_list_counts() -> None:
    """As for protobuf: a list of another kind replaces the one before, even between two large ones of one kind."""
    first, second = _request("RegressionRequest", context=False), _request("RegressionRequest", context=True)
    second.ClearField("model_spec")
    raw = first.SerializeToString() + second.SerializeToString() + first.SerializeToString()

    found: Any = parse_request(protos.RegressionRequest(), raw)

    assert found == protos.RegressionRequest.FromString(raw)
    assert example_count(found.input) == MANY


def test_damaged_requests_are_refused() -> None:
    """It is refused as a small one is."""
    raw = _request("ClassificationRequest", context=False).SerializeToString()
    for damaged in (raw[:-1], raw.replace(b"x", b"\xff", 1)):
        with pytest.raises(DecodeError):
            parse_request(protos.ClassificationRequest(), damaged)


def test_large_configurations_are_parsed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload of very many models."""
    pauses: list[None] = []
    monkeypatch.setattr(parse_module, "yield_to_loop", lambda: pauses.append(None))
    sent = protos.ReloadConfigRequest()
    for index in range(MANY):
        sent.config.model_config_list.config.add(name=f"m{index}", base_path="/models")
    raw = sent.SerializeToString()

    assert parse_in_pieces(protos.ReloadConfigRequest(), raw) == sent
    assert len(pauses) >= len(raw) // (2 * PIECE_BYTES)


def _class_rows(count: int) -> ClassRows:
    labels, scores = object_array([b"a", b"b"] * count).reshape(count, 2), RANDOM.random((count, 2), np.float32)
    return ClassRows(labels, scores, (count, 2))


def _content(framed: bytes) -> bytes:
    """The message in a frame."""
    assert framed[:GRPC_PREFIX_BYTES] == framing.frame_prefix(len(framed) - GRPC_PREFIX_BYTES)
    return framed[GRPC_PREFIX_BYTES:]


@pytest.mark.parametrize("count", [1, PIECE_RESULTS, PIECE_RESULTS + 1, 3000])
def test_classifications_are_written_in_pieces(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """The labels and scores of all examples, in messages of at most PIECE_RESULTS."""
    rows, sizes = _class_rows(count), []

    def write(some: Any) -> protos.ClassificationResult:
        sizes.append(len(some))
        return classifications(some)

    monkeypatch.setattr(examples_response, "classifications", write)
    framed = framed_result(serialized_spec(protos.ModelSpec(name="m")), rows)

    found = protos.ClassificationResponse.FromString(_content(framed))
    assert found.model_spec.name == "m"
    assert [[(one.label, one.score) for one in each.classes] for each in found.result.classifications] == [
        list(zip(["a", "b"], row.scores, strict=True)) for row in rows[:]
    ]
    assert max(sizes) <= PIECE_RESULTS


def test_regressions_are_written_in_order() -> None:
    """The value of each example."""
    values = RANDOM.random(2000, np.float32)
    framed = framed_result(serialized_spec(protos.ModelSpec()), ValueRows(values))

    found = protos.RegressionResponse.FromString(_content(framed))
    assert [one.value for one in found.result.regressions] == values.tolist()


@pytest.mark.parametrize("count", [1, 3000])
def test_results_of_several_tasks_are_written_in_order(count: int) -> None:
    """The results of each task, in order."""
    rows, values = _class_rows(count), RANDOM.random(count, np.float32)
    response = protos.MultiInferenceResponse(results=[{"model_spec": {"signature_name": name}} for name in "abc"])
    framed = framed_results(response, [rows, ValueRows(values), rows])

    expected = protos.MultiInferenceResponse()
    expected.CopyFrom(response)
    expected.results[0].classification_result.CopyFrom(classifications(rows[:]))
    expected.results[1].regression_result.CopyFrom(regressions(values.tolist()))
    expected.results[2].classification_result.CopyFrom(classifications(rows[:]))
    assert protos.MultiInferenceResponse.FromString(_content(framed)) == expected
