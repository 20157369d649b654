"""Tensors keep their values in every form, and inconsistent ones are refused."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfsctl.core import dtypes, json_tensors, protos, tensors
from tfsctl.core.arrays import PIECE_VALUES, object_array
from tfsctl.core.types import TensorSpec
from tfsctl.errors import InvalidInput

NUMERIC = [dtype for dtype in dtypes.DTYPES if dtype is not dtypes.STRING]
COMMON = [d for d in NUMERIC if d.numpy_name in np.sctypeDict]  # hypothesis does not know ml_dtypes
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
    """Whether two arrays are equal to the bit, NaN included."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return a.tolist() == b.tolist() if a.dtype == object else a.tobytes() == b.tobytes()


@given(arrays(), st.booleans())
def test_arrays_round_trip_through_protos(array: np.ndarray, as_content: bool) -> None:
    """As typed values and as tensor_content."""
    wire = tensors.to_proto(array, as_content=as_content).SerializeToString()

    assert same(tensors.from_proto(protos.TensorProto.FromString(wire)), array)


@pytest.mark.parametrize("dtype", NUMERIC, ids=lambda d: d.name)
@pytest.mark.parametrize("size", [2, 700])
def test_every_dtype_round_trips_through_protos(dtype: dtypes.DType, size: int) -> None:
    """bfloat16, 8-bit floats and 4-bit integers too, small ones and ones large enough to be packed."""
    array = np.array([0, 1] * (size // 2)).astype(dtype.numpy)
    for as_content in (True, False):
        assert same(tensors.from_proto(tensors.to_proto(array, as_content=as_content)), array)


@pytest.mark.parametrize("dtype", NUMERIC, ids=lambda d: d.name)
@pytest.mark.parametrize("is_copied", [True, False])
def test_many_values_of_every_dtype(monkeypatch: pytest.MonkeyPatch, dtype: dtypes.DType, is_copied: bool) -> None:
    """Whether protobuf copies them, or they are read in pieces."""
    if not is_copied:
        monkeypatch.setattr(tensors, "_MAX_COPIED_VALUES", 0)
    array = np.array([0, 1, 1] * PIECE_VALUES).astype(dtype.numpy)
    found = tensors.from_proto(tensors.to_proto(array, as_content=False))
    assert same(found, array)
    assert found.flags.writeable or dtype.field == "float8_val"


def test_bits_are_the_same_in_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `use_bits`, the dtypes of ml_dtypes are read and written as before, without arithmetic on their values."""
    messages = []
    for dtype in [d for d in NUMERIC if d not in COMMON]:
        array = np.array([1, 3, 7]).astype(dtype.numpy) if dtype.name == "uint4" else np.array([1, -2, 7], dtype.numpy)
        messages += [tensors.to_proto(np.resize(array, 99), as_content=as_content) for as_content in (True, False)]
    monkeypatch.setattr(dtypes, "_MlDtypes", type("_MlDtypes", (), {"is_used": True}))
    dtypes.use_bits()
    try:
        for message in messages:
            array = tensors.from_proto(message)
            assert array.dtype.names == (dtypes.name_of(message.dtype),)
            assert tensors.to_proto(array, as_content=bool(message.tensor_content)) == message
            if not message.tensor_content:
                message.tensor_shape.dim[0].size += 1
                assert tensors.from_proto(message)[-1] == array[-1]  # the last value is repeated
    finally:
        monkeypatch.undo()
        dtypes._numpy_dtype.cache_clear()


def _finite(array: np.ndarray) -> bool:
    return array.dtype.kind not in "fc" or bool(np.isfinite(array).all())


@given(arrays().filter(_finite))
def test_arrays_round_trip_through_json(array: np.ndarray) -> None:
    """Given the input's specification; an empty list does not have its inner shape."""
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
def test_missing_values_are_padded_and_extra_ones_dropped(
    values: list[float], shape: tuple[int, ...], expected: list[float]
) -> None:
    """As in `Tensor::FromProto`."""
    proto = protos.TensorProto(dtype=1, float_val=values)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)

    assert tensors.from_proto(proto).tolist() == expected


def test_narrow_integers_keep_their_low_bits() -> None:
    """int_val 300 read as int8 is 44, as in the C++ cast."""
    proto = protos.TensorProto(dtype=6, int_val=[300])
    proto.tensor_shape.dim.add(size=1)

    assert tensors.from_proto(proto).tolist() == [44]


def test_strings_in_tensor_content_are_read() -> None:
    """Lengths, then bytes."""
    proto = protos.TensorProto(dtype=7, tensor_content=b"\x05\x00\x02hellohi")
    proto.tensor_shape.dim.add(size=3)

    assert tensors.from_proto(proto).tolist() == [b"hello", b"", b"hi"]


@pytest.mark.parametrize(
    "make_proto",
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
def test_impossible_protos_are_refused(make_proto: Callable[[], protos.TensorProto]) -> None:
    """No dtype, a reference dtype, content of another length, a shape larger than any memory."""
    with pytest.raises(InvalidInput):
        tensors.from_proto(make_proto())


@given(st.binary(max_size=200))
def test_hostile_protos_never_crash(raw: bytes) -> None:
    """Whatever parses as a TensorProto becomes an array or an InvalidInput."""
    from google.protobuf.message import DecodeError

    with contextlib.suppress(DecodeError, InvalidInput):
        tensors.from_proto(protos.TensorProto.FromString(raw))


@pytest.mark.parametrize(
    ("value", "dtype", "shape", "message"),
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
def test_json_that_does_not_match_the_input_is_refused(
    value: object, dtype: str, shape: tuple[int | None, ...], message: str
) -> None:
    """The error tells where, what was found and what the model takes."""
    with pytest.raises(InvalidInput) as refused:
        json_tensors.from_json(value, TensorSpec("x", dtype, shape))

    assert refused.value.message == message


def test_bytes_that_are_not_utf8_become_base64() -> None:
    """JSON holds text; other bytes are `{"b64": …}`."""
    assert json_tensors.to_json(object_array([b"caf\xc3\xa9", b"\xff"])) == ["café", {"b64": "/w=="}]
