"""Large messages are read and written as protobuf does it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from tfsctl.core import dtypes, protos, tensors
from tfsctl.core.arrays import object_array
from tfsctl.core.wire_format import encode_varint
from tfsctl.server.grpc.large_predict_request import parse_large_request, read_large_request
from tfsctl.server.grpc.parse_in_pieces import MAX_NAME_BYTES, ExamplesRequest, parse_request
from tfsctl.server.grpc.predict_response import predict_response
from tfsctl.server.grpc.tensor_content import fill_content
from tfsctl.server.request_context import charge_strings, current_request
from tfsctl.server.status import Code, ServingError

RANDOM = np.random.default_rng(1)
MANY = 150_000  # values, in several pieces
ARRAYS: dict[str, np.ndarray] = {
    "float32": RANDOM.random(MANY, dtype=np.float32).reshape(3, -1),
    "float64": RANDOM.random(MANY),
    "int64": RANDOM.integers(-(2**63), 2**63 - 1, MANY),
    "int32": RANDOM.integers(-(2**31), 2**31 - 1, MANY, dtype=np.int32),
    "uint8": RANDOM.integers(0, 255, MANY, dtype=np.uint8).reshape(-1, 1, 2),
    "uint64": RANDOM.integers(0, 2**64 - 1, MANY, dtype=np.uint64),
    "bool": RANDOM.integers(0, 2, MANY).astype(bool),
    "float16": RANDOM.random(MANY).astype(np.float16),
    "int8": RANDOM.integers(-128, 127, MANY, dtype=np.int8),
    "complex64": RANDOM.random(MANY * 2, dtype=np.float32).view(np.complex64),
    "complex128": RANDOM.random(MANY * 2).view(np.complex128),
    "strings": object_array([b"%d" % (i % 977) for i in range(3000)] + [b"", b"x" * 100_000]),
    "a scalar": np.array(1.5, np.float32),
    "empty": np.zeros((0, 4), np.float32),
}
OF_ML_DTYPES = ("bfloat16", "int4", "float8_e5m2")  # made when a test needs one: importing ml_dtypes takes 0.4 s


def array_of(name: str) -> np.ndarray:
    """The array of ARRAYS, or one with this dtype of ml_dtypes."""
    if name in ARRAYS:
        return ARRAYS[name]
    return RANDOM.uniform(-8, 7, MANY).astype(dtypes.BY_NAME[name].numpy)


def request(array: np.ndarray, *, as_content: bool) -> Any:
    """A PredictRequest of a versioned model with this input and a small one."""
    message = protos.PredictRequest(model_spec={"name": "m", "signature_name": "s", "version": {"value": 3}})
    tensors.fill_proto(message.inputs["x"], np.asarray(array), as_content=as_content)
    tensors.fill_proto(message.inputs["small"], np.array([1, 2], np.int32), as_content=False)
    return message


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("name", [*ARRAYS, *OF_ML_DTYPES])
def test_large_requests_are_read_as_protobuf_reads_them(name: str, *, as_content: bool) -> None:
    """Every dtype, in typed fields and in `tensor_content`."""
    array = array_of(name)
    message = request(array, as_content=as_content)
    message.output_filter.append("y")
    found = read_large_request(memoryview(message.SerializeToString()))

    if array.size == 0 or (found is None and (array.dtype.name.startswith("float8") or array.dtype.hasobject)):
        assert found is None  # left to protobuf
        return
    assert found is not None
    spec = found.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("m", 3, "s")
    assert found.output_filter == ["y"]
    for alias, sent in message.inputs.items():
        wanted = tensors.from_proto(sent)
        assert (found.inputs[alias].dtype, found.inputs[alias].shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_array_equal(found.inputs[alias], wanted)


def test_only_views_reads_only_what_needs_no_copy() -> None:
    """The values stay where they are in the message; other messages are left to a thread."""
    raw = request(ARRAYS["float32"], as_content=True).SerializeToString()
    found = read_large_request(memoryview(raw), only_views=True)

    assert found is not None
    assert np.shares_memory(found.inputs["x"], np.frombuffer(raw, np.uint8))
    for name in ("int64", "strings"):
        raw = request(ARRAYS[name], as_content=False).SerializeToString()
        assert read_large_request(memoryview(raw), only_views=True) is None


INT32_REQUEST = request(ARRAYS["int32"], as_content=False).SerializeToString()


def _changed(**changes: Any) -> bytes:
    message = protos.PredictRequest.FromString(INT32_REQUEST)
    for name, value in changes.items():
        if name == "output_filter":
            message.output_filter.append(value)
        elif name == "model":
            message.model_spec.name = value
        elif name == "size":
            message.inputs["x"].tensor_shape.dim[0].size = value
        elif name == "content":
            message.inputs["x"].tensor_content = value
        else:
            message.inputs["x"].dtype = value
    raw: bytes = message.SerializeToString()
    return raw


def _with_dtypes(count: int) -> bytes:
    """A request whose tensor has `count` fields for its dtype. The last one counts."""
    tensor = request(ARRAYS["int32"], as_content=False).inputs["x"].SerializeToString() + b"\x08\x03" * count
    entry = b"\x0a\x01x\x12" + encode_varint(len(tensor)) + tensor
    return b"\x0a\x03\x0a\x01m\x12" + encode_varint(len(entry)) + entry


@pytest.mark.parametrize(
    "raw",
    [
        _changed(model=""),
        _changed(size=MANY + 1),
        _changed(size=MANY - 1),
        _changed(size=-1),
        _changed(content=b"abc"),
        _changed(dtype=dtypes.FLOAT.number),
        _changed(dtype=99),
        _changed()[:-3],
        _changed() + b"\x0b",
        _with_dtypes(MANY),
        b"",
    ],
)
def test_unusual_messages_are_left_to_protobuf(raw: bytes) -> None:
    """Padded tensors, errors and damage: the parser and the checks after it have the exact errors."""
    assert read_large_request(memoryview(raw)) is None


def test_parts_of_a_field_are_joined() -> None:
    """A packed field may come in several parts, and the last of two equal inputs counts, as in protobuf."""
    message = protos.PredictRequest(model_spec={"name": "m"})
    tensor = protos.TensorProto(dtype=dtypes.FLOAT.number, float_val=[1, 2])
    tensor.tensor_shape.dim.add(size=4)
    both = tensor.SerializeToString() + protos.TensorProto(float_val=[3, 4]).SerializeToString()
    entry = b"\x0a\x01x\x12" + bytes([len(both)]) + both
    other = request(np.array(7, np.float32), as_content=False)
    raw = other.SerializeToString() + message.SerializeToString() + b"\x12" + bytes([len(entry)]) + entry

    found = read_large_request(memoryview(raw))

    assert found is not None
    assert found.inputs["x"].tolist() == [1, 2, 3, 4]
    assert found.model_spec.name == "m"
    assert tensors.from_proto(protos.PredictRequest.FromString(raw).inputs["x"]).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("name", [*ARRAYS, *OF_ML_DTYPES])
def test_protobuf_reads_large_responses(name: str, *, as_content: bool) -> None:
    """In pieces or whole, they are the same tensor."""
    array = array_of(name)
    framed = predict_response("m", 3, "s", {"y": np.asarray(array), "z": np.ones(1, np.float32)}, as_content=as_content)

    assert framed[:5] == b"\0" + (len(framed) - 5).to_bytes(4, "big")
    response = protos.PredictResponse.FromString(framed[5:])
    assert bool(response.outputs["y"].tensor_content) is (as_content and array.size > 0)
    np.testing.assert_array_equal(tensors.from_proto(response.outputs["y"]), array)
    assert (response.model_spec.name, response.model_spec.version.value) == ("m", 3)


CONTENT_STRINGS = [b"", b"x" * 200, "Grüße".encode(), *[b"%d" % index for index in range(70_000)], b"y" * 2**21]


@pytest.mark.parametrize("as_rows", [False, True])
def test_strings_in_tensor_content_are_read(*, as_rows: bool) -> None:
    """As they are in the array that was written."""
    array = object_array(CONTENT_STRINGS[-69_000:] if as_rows else CONTENT_STRINGS)
    array = array.reshape(-1, 3) if as_rows else array
    sent = protos.PredictRequest(model_spec={"name": "m"})
    fill_content(sent.inputs["x"], array)
    raw = memoryview(sent.SerializeToString())

    found = read_large_request(raw)

    assert found is not None
    assert found.inputs["x"].tolist() == array.tolist()
    assert read_large_request(raw, only_views=True) is None


@pytest.mark.parametrize(
    "content",
    [
        b"\x01" * 40_000 + b"a" * 39_999,
        b"\x01" * 40_000 + b"a" * 40_001,
        b"\x01" * 39_999,
        b"\xff" * 80_000,
        b"\xff" * 9 + b"\x01" * 40_000 + b"a" * 39_998,
    ],
)
def test_damaged_strings_in_tensor_content_are_refused(content: bytes) -> None:
    """Too few bytes, too many, too few lengths, lengths that are no numbers, and one of 2**64 - 1."""
    sent = protos.PredictRequest(model_spec={"name": "m"})
    tensors.fill_head(sent.inputs["x"], dtypes.STRING, (40_000,))
    sent.inputs["x"].tensor_content = content
    with pytest.raises(ServingError, match="tensor parsing error: x"):
        read_large_request(memoryview(sent.SerializeToString()))


LONG = "n" * 20_000
FLOATS = tensors.to_proto(np.ones(1, np.float32))
SHAPE = protos.TensorProto(dtype=1, tensor_shape={"dim": [{"size": 1}] * 20_000})


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (protos.PredictRequest(model_spec={"name": "m"}, inputs={LONG: FLOATS}), "A name of an input of 20000 bytes"),
        (protos.PredictRequest(model_spec={"name": "m"}, output_filter=[LONG]), "A name of an output of 20000 bytes"),
        (protos.PredictRequest(model_spec={"name": "m"}, inputs={"x": SHAPE}), "A shape of"),
        (protos.PredictRequest(model_spec={"name": "m"}, output_filter=["x"] * 30_000), "more than 20000 fields"),
        (protos.PredictRequest(inputs={f"x{index}": FLOATS for index in range(30_000)}), "more than 20000 fields"),
    ],
    ids=["input", "output", "shape", "outputs", "inputs"],
)
def test_what_no_client_sends_is_refused(sent: protos.PredictRequest, reason: str) -> None:
    """It would take the server long, for an error in the end."""
    with pytest.raises(ServingError, match=reason):
        parse_large_request(memoryview(sent.SerializeToString()))


def test_long_names_of_models_are_cut() -> None:
    """No model has such a name. The error message ends far sooner."""
    spec = {"name": LONG, "signature_name": LONG, "version_label": LONG}
    found = parse_large_request(memoryview(protos.PredictRequest(model_spec=spec).SerializeToString()))
    lengths = {len(found.model_spec.name), len(found.model_spec.signature_name), len(found.model_spec.version_label)}
    assert lengths == {MAX_NAME_BYTES}
    for sent in (
        protos.ClassificationRequest(model_spec={"name": LONG * 4}),
        protos.GetModelMetadataRequest(model_spec={"name": LONG * 4}),
    ):
        parsed: Any = parse_request(type(sent)(), sent.SerializeToString())
        assert parsed.model_spec.name == LONG[:MAX_NAME_BYTES]
    tasks = protos.MultiInferenceRequest(tasks=[{"model_spec": {"name": LONG * 4}}])
    several: Any = parse_request(protos.MultiInferenceRequest(), tasks.SerializeToString())
    assert several.tasks[0].model_spec.name == LONG[:MAX_NAME_BYTES]


def test_requests_of_very_many_tasks_are_refused() -> None:
    """Each would take fifty times the memory of its two bytes."""
    with pytest.raises(ServingError, match="more than 20000 fields"):
        parse_request(protos.MultiInferenceRequest(), b"\x0a\x00" * 40_000)


class _Request:
    """A request of a server with little memory, that counts what is made of it."""

    memory_limit = 2**21

    def __init__(self) -> None:
        self.client: object = None
        self.run: Any = None
        self.is_alone = False
        self.charged = 0

    def charge(self, size: int) -> None:
        """Count bytes."""
        self.charged += size


@pytest.fixture
def little_memory() -> Iterator[_Request]:
    """The current request, in which decoding may take 1 MiB."""
    request = _Request()
    token = current_request.set(request)
    yield request
    current_request.reset(token)


def _strings_message(count: int, *, as_content: bool) -> memoryview:
    sent = protos.PredictRequest(model_spec={"name": "m"})
    array = object_array([b""] * count)
    if as_content:
        fill_content(sent.inputs["x"], array)
    else:
        tensors.fill_proto(sent.inputs["x"], array)
    return memoryview(sent.SerializeToString())


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("as_content", [False, True])
def test_strings_that_take_too_much_memory_are_refused(*, as_content: bool) -> None:
    """A byte or two each in the message, and 32 in an array and a tensor."""
    assert read_large_request(_strings_message(30_000, as_content=as_content)) is not None
    with pytest.raises(ServingError, match="take more memory than allowed") as refused:
        read_large_request(_strings_message(40_000, as_content=as_content))
    assert refused.value.code is Code.RESOURCE_EXHAUSTED


@pytest.mark.usefixtures("little_memory")
def test_examples_that_take_too_much_memory_are_refused() -> None:
    """An empty one has two bytes in the message."""
    for count, is_refused in ((30_000, False), (40_000, True)):
        examples = b"\x0a\x00" * count
        listed = b"\x0a" + encode_varint(len(examples)) + examples
        raw = b"\x12" + encode_varint(len(listed)) + listed + b"\x78\x00" * 5_000
        with pytest.raises(ServingError, match="take more memory") if is_refused else nullcontext():
            assert isinstance(parse_request(protos.ClassificationRequest(), raw), ExamplesRequest)


def test_the_memory_of_strings_is_counted(little_memory: _Request) -> None:
    """Only what they take beyond the message, so nothing for strings of some length."""
    charge_strings(1000, 30_000)
    assert little_memory.charged == 2000
    charge_strings(1000, 40_000)
    assert little_memory.charged == 2000
