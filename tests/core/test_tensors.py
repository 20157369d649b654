"""Tensors keep their values through every form, and what does not hold together is refused by name."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfsctl.core import dtypes, json_tensors, protos, tensors
from tfsctl.core.arrays import object_array
from tfsctl.core.types import TensorSpec
from tfsctl.errors import InvalidInput

NUMERIC = [dtype for dtype in dtypes.DTYPES if dtype is not dtypes.STRING]
COMMON = [d for d in NUMERIC if d.numpy.isbuiltin == 1]  # hypothesis does not know ml_dtypes
shapes = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    """Arrays of every dtype a TensorProto carries, strings included."""
    if draw(st.booleans()):
        shape = draw(shapes)
        values = draw(st.lists(st.binary(max_size=40), min_size=math.prod(shape), max_size=math.prod(shape)))
        return object_array(values).reshape(shape)
    return draw(hnp.arrays(draw(st.sampled_from([d.numpy for d in COMMON])), shapes))


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal to the bit, NaN included."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes()


@given(arrays(), st.booleans())
def test_proto_round_trip(array: np.ndarray, as_content: bool) -> None:
    """An array survives TensorProto, as typed values and as tensor_content."""
    wire = tensors.to_proto(array, as_content=as_content).SerializeToString()

    assert same(tensors.from_proto(protos.TensorProto.FromString(wire)), array)


@pytest.mark.parametrize("dtype", NUMERIC, ids=lambda d: d.name)
@pytest.mark.parametrize("size", [2, 700])
def test_every_dtype_round_trips(dtype: dtypes.DType, size: int) -> None:
    """bfloat16, the 8-bit floats and 4-bit integers too, small and large enough to be packed."""
    array = np.array([0, 1] * (size // 2)).astype(dtype.numpy)
    for as_content in (True, False):
        assert same(tensors.from_proto(tensors.to_proto(array, as_content=as_content)), array)


def _finite(array: np.ndarray) -> bool:
    return array.dtype.kind not in "fc" or bool(np.isfinite(array).all())


@given(arrays().filter(_finite))
def test_json_round_trip(array: np.ndarray) -> None:
    """An array survives JSON values, given the input's specification; an empty list cannot tell its inner shape."""
    spec = TensorSpec("x", dtypes.from_numpy(array.dtype).name, tuple(array.shape))
    if 0 in array.shape[:-1]:
        return
    back = json_tensors.from_json(json_tensors.to_json(array, b64=True), spec)

    assert back.dtype == array.dtype
    assert back.tolist() == array.tolist()


@pytest.mark.parametrize(
    ("values", "shape", "expected"),
    [
        ([1.0], (3,), [1.0, 1.0, 1.0]),
        ([], (2,), [0.0, 0.0]),
        ([1.0, 2.0], (4,), [1.0, 2.0, 2.0, 2.0]),
        ([1.0, 2.0, 3.0], (1,), [1.0]),
    ],
)
def test_values_and_shape_disagree(values: list[float], shape: tuple[int, ...], expected: list[float]) -> None:
    """Too few values are padded with the last, extra ones dropped, as `Tensor::FromProto` does."""
    proto = protos.TensorProto(dtype=1, float_val=values)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)

    assert tensors.from_proto(proto).tolist() == expected


def test_narrow_integers_keep_their_low_bits() -> None:
    """int_val 300 read as int8 is 44, as the C++ cast has it."""
    proto = protos.TensorProto(dtype=6, int_val=[300])
    proto.tensor_shape.dim.add(size=1)

    assert tensors.from_proto(proto).tolist() == [44]


def test_strings_in_tensor_content() -> None:
    """Strings may come as tensor_content: lengths, then bytes."""
    proto = protos.TensorProto(dtype=7, tensor_content=b"\x05\x00\x02hellohi")
    proto.tensor_shape.dim.add(size=3)

    assert tensors.from_proto(proto).tolist() == [b"hello", b"", b"hi"]


@pytest.mark.parametrize(
    "proto",
    [
        lambda: protos.TensorProto(dtype=0),
        lambda: protos.TensorProto(dtype=101, float_val=[1.0]),
        lambda: protos.TensorProto(dtype=1, tensor_content=b"\0" * 5),
        lambda: protos.TensorProto(dtype=7, tensor_content=b"\xff"),
        lambda: protos.TensorProto(dtype=7, tensor_content=b"\x7fabc"),
        lambda: protos.TensorProto(dtype=1, tensor_shape={"dim": [{"size": -2}]}),
        lambda: protos.TensorProto(dtype=1, tensor_shape={"dim": [{"size": 2**40}, {"size": 2**40}]}),
    ],
)
def test_impossible_protos_are_refused(proto: object) -> None:
    """No dtype, a reference dtype, content of another length, a shape no memory holds."""
    with pytest.raises(InvalidInput):
        tensors.from_proto(proto())  # type: ignore[operator] # each parameter is a function


@given(st.binary(max_size=200))
def test_hostile_protos_never_crash(raw: bytes) -> None:
    """Whatever parses as a TensorProto becomes an array or an InvalidInput."""
    from google.protobuf.message import DecodeError

    with contextlib.suppress(DecodeError, InvalidInput):
        tensors.from_proto(protos.TensorProto.FromString(raw))


@pytest.mark.parametrize(
    ("value", "dtype", "shape", "said"),
    [
        ("a", "float32", (None,), "x is text ('a'), but the model wants float32"),
        ([1, "a"], "float32", (None,), "x[1] is text ('a'), but the model wants float32"),
        ([1.5], "int32", (None,), "x[0] is 1.5, but the model wants int32: a whole number"),
        ([300], "uint8", (None,), "x[0] is 300, but uint8 goes from 0 to 255"),
        ([True], "float32", (None,), "x[0] is a boolean ('True'), but the model wants float32"),
        ([1.5, True], "float32", (None,), "x[1] is a boolean ('True'), but the model wants float32"),
        ([[5, 6], [False, 7]], "int32", (None, 2), "x[1][0] is a boolean ('False'), but the model wants int32"),
        ([[1, 2], [3]], "float32", (None, 2), "x[1] has 1 values where the first such list has 2"),
        ([[1], 2], "float32", (None, 1), "x[1] is a single value where a list was found before"),
        ([1, [2]], "float32", (None,), "x[1] is a list where a single float32 was found before"),
        ([1, 2], "float32", (None, 3), "input 'x' has shape [2], but the model wants float32 [batch, 3]"),
        ([{"b64": "!"}], "string", (None,), 'x[0]: the value of "b64" is not base64 (standard alphabet)'),
        ([None], "string", (None,), "x[0] is null, but the model wants string"),
    ],
)
def test_json_that_does_not_match_the_input(
    value: object, dtype: str, shape: tuple[int | None, ...], said: str
) -> None:
    """The error says where, what was found and what is wanted."""
    with pytest.raises(InvalidInput) as refused:
        json_tensors.from_json(value, TensorSpec("x", dtype, shape))

    assert refused.value.message == said


def test_bytes_that_are_not_utf8_become_base64() -> None:
    """JSON carries text; other bytes are `{"b64": …}`."""
    assert json_tensors.to_json(object_array([b"caf\xc3\xa9", b"\xff"])) == ["café", {"b64": "/w=="}]
