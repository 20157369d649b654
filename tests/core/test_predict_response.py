"""A PredictResponse is read from its bytes as protobuf reads it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from tfsctl.core import dtypes, protos, tensors
from tfsctl.core.arrays import object_array
from tfsctl.core.predict_response import read_predict_response
from tfsctl.core.wire_format import encode_varint
from tfsctl.errors import InvalidInput

LARGE = 5000  # values
# Of the dtypes of ml_dtypes, float8_e5m2 alone is a number to NumPy (its kind is "f").
NUMERIC = [
    dtype
    for dtype in dtypes.DTYPES
    if dtype.numpy_name in (*np.sctypeDict, "float8_e5m2") and dtype is not dtypes.STRING
]


def response(outputs: dict[str, np.ndarray], *, as_content: bool = False) -> Any:
    """The message with these outputs, serialized by protobuf."""
    message = protos.PredictResponse(model_spec={"name": "m", "version": {"value": 7}})
    for name, array in outputs.items():
        tensors.fill_proto(message.outputs[name], array, as_content=as_content)
    return message


def officially(raw: bytes) -> dict[str, np.ndarray]:
    """The outputs of the message as protobuf parses it."""
    message = protos.PredictResponse.FromString(raw)
    return {name: tensors.from_proto(message.outputs[name]) for name in sorted(message.outputs)}


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    """Whether two sets of outputs are equal to the bit, and in the same order."""
    return list(a) == list(b) and all(_same(x, y) for x, y in zip(a.values(), b.values(), strict=True))


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    return a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes()


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("dtype", NUMERIC, ids=str)
@pytest.mark.parametrize("shape", [(LARGE,), (50, 100), (1, 5, 10, 100), (0, 3), ()])
def test_every_dtype_and_shape_is_read_as_protobuf_reads_it(
    dtype: dtypes.DType, shape: tuple[int, ...], as_content: bool
) -> None:
    """Large and small, in typed fields and in `tensor_content`, with other outputs."""
    array = np.asarray(np.arange(int(np.prod(shape))).reshape(shape), dtype.numpy)
    outputs = {"b": array, "a": np.array([1.5], np.float32), "text": object_array([b"x" * LARGE, b""])}
    raw = response(outputs, as_content=as_content).SerializeToString()

    found, spec = read_predict_response(raw)

    assert same(found, officially(raw))
    assert same(found, dict(sorted(outputs.items())))
    assert (spec.name, spec.version.value) == ("m", 7)


@pytest.mark.parametrize(
    ("dtype", "as_content"), [("float32", False), ("float64", False), ("int64", True), ("float32", True)]
)
def test_large_numbers_are_not_copied(dtype: str, as_content: bool) -> None:
    """They are a view of the response's bytes."""
    raw = response({"y": np.arange(LARGE).astype(dtype)}, as_content=as_content).SerializeToString()

    (array,) = read_predict_response(raw)[0].values()

    assert np.shares_memory(array, np.frombuffer(raw, np.uint8))
    assert array.tolist() == list(range(LARGE))


def test_unusual_encodings_are_read_as_protobuf_reads_them() -> None:
    """Values in two pieces or one by one, fewer values than the shape has, unknown fields."""
    message = response({"y": np.arange(LARGE, dtype=np.float32)})
    tensor = message.outputs["y"]
    head = protos.TensorProto(dtype=1, tensor_shape=tensor.tensor_shape).SerializeToString()
    memory = np.arange(LARGE, dtype="<f4").tobytes()
    half = len(memory) // 2
    one_by_one = b"".join(b"\x2d" + memory[at : at + 4] for at in range(0, len(memory), 4))
    unknown = b"\xfa\x7f" + encode_varint(9000) + bytes(9000)
    short = protos.TensorProto(dtype=1, tensor_shape={"dim": [{"size": 2 * LARGE}]}).SerializeToString()
    for body in (
        head + _field(5, memory[:half]) + _field(5, memory[half:]),
        head + one_by_one,
        head + _field(5, memory) + b"\x2d" + memory[:4],
        short + _field(5, memory),
        unknown + head + _field(5, memory),
        head + _field(4, memory) + _field(5, memory),
    ):
        entry = _field(1, b"y") + _field(2, body)
        for raw in (
            _field(1, entry),
            unknown + _field(1, entry),
            _field(1, entry + unknown),
            _field(1, _field(2, body) + _field(1, b"y")),
        ):
            assert same(read_predict_response(raw)[0], officially(raw))


VALID = response({"y": np.arange(2000, dtype=np.float32), "s": object_array([b"a"])}).SerializeToString()


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_invalid_messages_are_read_or_refused_as_by_protobuf(data: st.DataObject) -> None:
    """Some bytes of a message are overwritten, and its end is cut off."""
    raw = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, 60)) % len(raw)] = data.draw(st.integers(0, 255))
    mutated = bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        wanted = officially(mutated)
    except (InvalidInput, DecodeError):
        with pytest.raises((InvalidInput, DecodeError)):
            read_predict_response(mutated)
        return
    assert same(read_predict_response(mutated)[0], wanted)


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + encode_varint(len(content)) + content
