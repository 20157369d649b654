"""Messages that are parsed in pieces are what protobuf's parser makes of them at once, whatever their fields."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError, Message

from tfsctl.core import dtypes, protos, tensors
from tfsctl.core.wire_format import encode_varint
from tfsctl.server.grpc import parse_in_pieces as pieces_module
from tfsctl.server.grpc.large_predict_request import UnusualRequest, parse_large_request
from tfsctl.server.grpc.parse_in_pieces import PIECE_BYTES, ExamplesRequest, parse_in_pieces, parse_request
from tfsctl.server.signatures.serialized_input import serialized_examples

SEEDS = range(60)
SMALL_PIECE_BYTES = 40
FLOATS, INTS = 5, 10  # the numbers of `float_val` and `int64_val` in TensorProto
FIXED32 = 5  # a wire type
DTYPE, SHAPE = b"\x08\x01", b"\x12\x05\x12\x03\x08\xe8\x07"  # float, [1000]


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut messages of a few bytes as those of many megabytes are cut."""
    monkeypatch.setattr(pieces_module, "PIECE_BYTES", SMALL_PIECE_BYTES)
    monkeypatch.setattr(pieces_module, "_RUN", 3)
    monkeypatch.setattr(pieces_module, "_RUN_BYTES", SMALL_PIECE_BYTES // 2)


def of_length(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return encode_varint(number << 3 | 2) + encode_varint(len(content)) + content


def random_example(choose: random.Random) -> protos.Example:
    """An example with features of all kinds, some of them large."""
    example = protos.Example()
    for index in range(choose.randrange(6)):
        feature = example.features.feature[f"feature {index}" * choose.choice((1, 9))]
        count = choose.choice((0, 1, 3, 30))
        kind = choose.randrange(3)
        if kind == 0:
            feature.bytes_list.value.extend([choose.randbytes(choose.choice((0, 3, 90))) for _ in range(count)])
        elif kind == 1:
            feature.float_list.value.extend([choose.random() for _ in range(count)])
        else:
            feature.int64_list.value.extend([choose.randrange(-(2**40), 2**40) for _ in range(count)])
    return example


def random_tensor(choose: random.Random) -> protos.TensorProto:
    """A tensor with values in any of its fields, and perhaps tensors in it."""
    tensor = protos.TensorProto(dtype=choose.randrange(20), tensor_content=choose.randbytes(choose.choice((0, 70))))
    for _ in range(choose.randrange(5)):
        tensor.tensor_shape.dim.add(size=choose.randrange(-1, 2**33), name="a dimension" * choose.randrange(9))
    count = choose.choice((1, 5, 40))
    tensor.float_val.extend([choose.random() for _ in range(count)])
    tensor.int64_val.extend([choose.randrange(-(2**63), 2**63) for _ in range(choose.choice((0, count)))])
    tensor.dcomplex_val.extend([choose.random() for _ in range(choose.choice((0, count)))])
    tensor.string_val.extend([choose.randbytes(choose.choice((0, 5, 200))) for _ in range(choose.choice((0, count)))])
    if choose.random() < 0.3:
        tensor.variant_val.add(type_name="a type").tensors.add().CopyFrom(random_tensor(choose))
    return tensor


def random_predict(choose: random.Random) -> protos.PredictRequest:
    """A Predict request."""
    request = protos.PredictRequest(model_spec={"name": "m" * choose.choice((1, 100)), "signature_name": "s"})
    for index in range(choose.randrange(4)):
        request.inputs[f"input {index}"].CopyFrom(random_tensor(choose))
    request.output_filter.extend(["an output"] * choose.choice((0, 2, 9)))
    return request


def random_classification(choose: random.Random) -> protos.ClassificationRequest:
    """A Classify request, perhaps with a context."""
    request = protos.ClassificationRequest(model_spec={"name": "m" * choose.choice((1, 100))})
    examples = [random_example(choose) for _ in range(choose.randrange(1, 5))]
    if choose.random() < 0.5:
        request.input.example_list_with_context.context.CopyFrom(random_example(choose))
        request.input.example_list_with_context.examples.extend(examples)
    else:
        request.input.example_list.examples.extend(examples)
    return request


def unpacked(message: Any) -> bytes:
    """A serialized tensor whose floats and integers are not packed, between fields that the type does not have."""
    floats, integers = list(message.float_val), list(message.int64_val)
    rest = protos.TensorProto()
    rest.CopyFrom(message)
    rest.ClearField("float_val")
    rest.ClearField("int64_val")
    unknown = encode_varint(200 << 3) + b"\x05"
    parts = [bytes([FLOATS << 3 | FIXED32]) + np.float32(value).tobytes() for value in floats]
    parts += [bytes([INTS << 3]) + encode_varint(value % 2**64) for value in integers]
    return unknown * 9 + b"".join(parts) + unknown + rest.SerializeToString() + of_length(300, b"unknown" * 30)


class Refused(str):
    """Why a message is refused. All reasons are equal."""

    __slots__ = ()
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Refused)


def known_fields(message: Message) -> bytes:
    """What a message has but its unknown fields, in one order."""
    message.DiscardUnknownFields()
    return message.SerializeToString(deterministic=True)


def in_pieces(message: Message, raw: bytes) -> Message:
    """A message of the same type."""
    return parse_in_pieces(type(message)(), raw)


def parsed(parse: Callable[[bytes], Message], raw: bytes) -> bytes | Refused:
    """What a message has, or that it is refused."""
    try:
        return known_fields(parse(raw))
    except DecodeError as error:
        return Refused(str(error))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("make", [random_predict, random_classification, random_tensor, random_example])
@pytest.mark.usefixtures("small_pieces")
def test_the_same_message_as_at_once(make: Callable[[random.Random], Message], seed: int) -> None:
    """Sent once, and two of them one after the other, which are merged."""
    choose = random.Random(seed)
    raw = make(choose).SerializeToString()
    for sent in (raw, raw + make(choose).SerializeToString()):
        at_once = type(make(choose)).FromString(sent)
        assert known_fields(parse_in_pieces(type(at_once)(), sent)) == known_fields(at_once)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.usefixtures("small_pieces")
def test_numbers_that_are_not_packed_and_unknown_fields(seed: int) -> None:
    """Each number is a field."""
    raw = unpacked(random_tensor(random.Random(seed)))
    assert known_fields(parse_in_pieces(protos.TensorProto(), raw)) == known_fields(protos.TensorProto.FromString(raw))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("make", [random_predict, random_classification])
@pytest.mark.usefixtures("small_pieces")
def test_damaged_messages(make: Callable[[random.Random], Message], seed: int) -> None:
    """They are refused if protobuf refuses them, and are the same message otherwise."""
    choose = random.Random(seed)
    message = make(choose)
    raw = bytearray(message.SerializeToString())
    for _ in range(40):
        at = choose.randrange(len(raw))
        before, raw[at] = raw[at], choose.randrange(256)
        sent = bytes(raw[: choose.choice((len(raw), at + 1))])
        at_once, found = (parsed(parse, sent) for parse in (type(message).FromString, partial(in_pieces, message)))
        assert found == at_once or "wire type" in str(found)  # groups, which no message of TensorFlow uses
        raw[at] = before


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.usefixtures("small_pieces")
def test_examples_stay_serialized(seed: int) -> None:
    """Each example, with the context, is what it is in the message."""
    sent = random_classification(random.Random(seed))
    found: Any = parse_request(protos.ClassificationRequest(), sent.SerializeToString() + b"\x78\x01" * 40)
    assert isinstance(found, ExamplesRequest)
    assert found.message.model_spec == sent.model_spec

    def messages(examples: np.ndarray) -> list[protos.Example]:
        return [protos.Example.FromString(example) for example in examples]

    assert messages(serialized_examples(found.input)) == messages(serialized_examples(sent.input))


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("damage", [(b"a name", b"\xff name"), (b"\x12\x10\x1a\x0e", b"\x12\x10\x1a\x0f")])
def test_damaged_large_examples_are_refused(damage: tuple[bytes, bytes]) -> None:
    """A name that is no UTF-8, and a list that is longer than its feature."""
    sent = protos.ClassificationRequest(model_spec={"name": "m"})
    features = sent.input.example_list.examples.add().features.feature
    features["a name"].int64_list.value.extend(range(14 - 2))
    features["another"].bytes_list.value.append(b"many bytes" * 20)
    raw = sent.SerializeToString()
    assert damage[0] in raw
    with pytest.raises(DecodeError):
        parse_request(protos.ClassificationRequest(), raw.replace(*damage))


def test_many_irregular_fields_are_parsed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `_MAX_SCALARS` of them, protobuf parses the rest in one call: finding each would take far longer."""
    monkeypatch.setattr(pieces_module, "_MAX_SCALARS", 50)
    fields = b"\x08\x01\x18\x00" * 40_000 + b"\x2d\x00\x00\x80\x3f"  # dtype and version, again and again
    assert parse_in_pieces(protos.TensorProto(), fields).float_val == [1.0]


def test_an_entry_with_very_many_keys_is_refused() -> None:
    """Looking at each would take far more memory than the message."""
    with pytest.raises(DecodeError, match="very many fields"):
        parse_in_pieces(protos.PredictRequest(), of_length(2, b"\x0a\x00" * 100_000))


def test_too_deep_messages_are_refused() -> None:
    """Each level is a tensor in a variant of the one before."""
    raw = b"\x22" + encode_varint(70_000) + bytes(70_000)
    for _ in range(200):
        raw = of_length(15, of_length(3, raw))
    for parse in (protos.TensorProto.FromString, lambda sent: parse_in_pieces(protos.TensorProto(), sent)):
        with pytest.raises(DecodeError):
            parse(raw)


def _predict(tensor: bytes) -> bytes:
    return of_length(1, of_length(1, b"m")) + of_length(2, of_length(1, b"x") + of_length(2, tensor))


def _many_features() -> bytes:
    value = of_length(2, of_length(2, of_length(1, b"\0\0\0\0")))
    return of_length(1, b"".join([of_length(1, of_length(1, b"%08d" % index) + value) for index in range(100_000)]))


LARGE: dict[str, Callable[[], tuple[Message, bytes]]] = {
    "unpacked floats": lambda: (protos.PredictRequest(), _predict(DTYPE + SHAPE + b"\x2d\x00\x00\x80\x3f" * 300_000)),
    "too many integers": lambda: (
        protos.PredictRequest(),
        _predict(DTYPE + SHAPE + of_length(10, b"\x81\x01" * 700_000)),
    ),
    "unknown fields": lambda: (protos.PredictRequest(), _predict(DTYPE + SHAPE + b"\xf8\x0f\x01" * 500_000)),
    "an example": lambda: (
        protos.ClassificationRequest(),
        of_length(2, of_length(1, of_length(1, _many_features()))),
    ),
    "a context": lambda: (
        protos.ClassificationRequest(),
        of_length(2, of_length(2, of_length(2, _many_features()) + of_length(1, b""))),
    ),
}


@pytest.mark.parametrize("kind", LARGE)
def test_the_event_loop_may_run_after_each_piece(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """No kind of field of more than a megabyte is parsed, or merged, in one call."""
    pauses: list[None] = []
    monkeypatch.setattr(pieces_module, "yield_to_loop", lambda: pauses.append(None))
    message, raw = LARGE[kind]()
    assert len(raw) > 20 * PIECE_BYTES
    if isinstance(message, protos.PredictRequest):
        parse_large_request(memoryview(raw))
    else:
        found: Any = parse_request(message, raw)
        assert len(serialized_examples(found.input)) == 1
    assert len(pauses) >= 20


def test_a_tensor_of_unpacked_numbers_is_read() -> None:
    """As one of packed numbers."""
    raw = memoryview(_predict(DTYPE + SHAPE + b"\x2d\x00\x00\x80\x3f" * 1000 + b"\xf8\x0f\x01" * 40_000))
    request = parse_large_request(raw)
    assert isinstance(request, UnusualRequest)
    assert request.nbytes == len(raw)
    array = tensors.from_proto(request.message.inputs["x"])
    assert array.dtype == dtypes.FLOAT.numpy
    assert array.tolist() == [1.0] * 1000
