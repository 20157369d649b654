"""TensorProto messages <-> numpy arrays. Strings are object arrays of bytes.

Format: tensorflow/core/framework/tensor.proto, read as `Tensor::FromProto` (tensor.cc) reads it: if a message has fewer
values than its shape, the last one is repeated; values beyond the shape are dropped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from tfsctl.core import dtypes, protos
from tfsctl.core.arrays import PIECE_VALUES, object_array
from tfsctl.core.dtypes import DType
from tfsctl.core.wire_format import decode_varint, encode_varint
from tfsctl.errors import InvalidInput

MAX_TENSOR_BYTES = 2**31 - 1  # the limit of one message; a shape with a single value may claim more
MAX_DIMENSIONS = 254  # TensorShape::MaxDimensions()
_FEW_VALUES = 32  # numpy reads a list of them in a third of the time that it takes to read a repeated field
_MAX_COPIED_VALUES = 2**22  # copying them takes protobuf 4 ms, and blocks all other threads
_COMPLEX_FIELDS = frozenset(("scomplex_val", "dcomplex_val"))
_ALWAYS_ALLOWED_VALUES = 2**24  # below MAX_TENSOR_BYTES in every dtype
MAX_PADDING_BYTES = 64 * 1024 * 1024  # a few bytes on the wire may expand to this much by repeating a value
_STRING_BYTES = 64  # memory of an empty string
_MIN_CONTENT_BYTES = 64  # smaller arrays go into typed fields: as fast, and readable in logs
_PACKED_FIELDS = {"float_val": 5, "double_val": 6}  # field numbers; packed, these are the bytes of the array
_MIN_PACKED_BYTES = 1024
_NIBBLE, _SIGN = 0b1111, 0b1000  # the bits of a 4-bit integer


def to_proto(array: np.ndarray, *, as_content: bool = True) -> protos.TensorProto:
    """The TensorProto of an array.

    Numbers of more than a few bytes are written as raw `tensor_content`, unless `as_content` is false.
    """
    proto = protos.TensorProto()
    fill_proto(proto, array, as_content=as_content)
    return proto


def fill_proto(proto: protos.TensorProto, array: np.ndarray, *, as_content: bool = True) -> None:
    """Write an array into an empty TensorProto, as `to_proto` does."""
    dtype = dtypes.from_numpy(array.dtype)
    fill_head(proto, dtype, array.shape)
    if dtype is dtypes.STRING:
        values = array.ravel().tolist()
        proto.string_val.extend(values if set(map(type, values)) == {bytes} else map(_to_bytes, values))
    elif as_content and array.nbytes >= _MIN_CONTENT_BYTES:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
    else:
        _set_typed_values(proto, array, dtype)


def fill_head(proto: protos.TensorProto, dtype: DType, shape: Sequence[int]) -> None:
    """Write a dtype and a shape into an empty TensorProto."""
    proto.dtype = dtype.number
    add_dim = proto.tensor_shape.dim.add
    for size in shape:
        add_dim(size=size)
    if not shape:
        proto.tensor_shape.SetInParent()  # the empty shape of a scalar, not an unknown one


def _set_typed_values(proto: protos.TensorProto, array: np.ndarray, dtype: DType) -> None:
    """Fill the typed field (`float_val`, `int_val`, …) of a TensorProto with all values of a numeric array."""
    flat = array.ravel()
    if dtype is dtypes.FLOAT and array.nbytes < _MIN_PACKED_BYTES:
        proto.float_val.extend(flat.tolist())
    elif dtype.field == "half_val":
        proto.half_val.extend(flat.view(np.uint16).tolist())
    elif dtype.field == "float8_val":
        proto.float8_val = flat.tobytes()
    elif dtype.is_complex:
        getattr(proto, dtype.field).extend(flat.view(_component_dtype(dtype)).tolist())
    elif dtype.numpy.kind == "V":  # 4-bit integers, one per byte
        proto.int_val.extend(to_int32(flat, dtype).tolist())
    elif dtype.field in _PACKED_FIELDS and array.nbytes >= _MIN_PACKED_BYTES:
        proto.MergeFromString(_packed(_PACKED_FIELDS[dtype.field], np.ascontiguousarray(flat).tobytes()))
    else:
        getattr(proto, dtype.field).extend(flat.tolist())


def _packed(field_number: int, content: bytes) -> bytes:
    """A packed repeated field on the wire: tag, length, content."""
    return bytes([field_number << 3 | 2]) + encode_varint(len(content)) + content


class LargePaddingError(Exception):
    """A TensorProto has far fewer values than its shape."""


def padding_bytes(proto: protos.TensorProto) -> int:
    """The bytes of the values that `from_proto` adds to a TensorProto with fewer values than its shape has."""
    dtype = dtypes.BY_NUMBER.get(proto.dtype)
    if dtype is None or proto.tensor_content or len(proto.tensor_shape.dim) > MAX_DIMENSIONS:
        return 0
    have = len(getattr(proto, dtype.field)) // (2 if dtype.is_complex else 1)
    missing = math.prod([max(0, dim.size) for dim in proto.tensor_shape.dim]) - have
    return max(0, missing) * _value_bytes(dtype)


def from_proto(proto: protos.TensorProto, *, max_padding: int = MAX_PADDING_BYTES) -> np.ndarray:
    """The array of a TensorProto. Raises InvalidInput if dtype, shape and content cannot be used together.

    Raises LargePaddingError if the values that the shape has beyond those that are given take more than `max_padding`
    bytes, but are allowed.
    """
    dtype = dtypes.BY_NUMBER.get(proto.dtype)
    if dtype is None:
        raise InvalidInput(f"a TensorProto of unknown dtype {proto.dtype}")
    dims = proto.tensor_shape.dim
    if len(dims) > MAX_DIMENSIONS:
        raise InvalidInput(f"a TensorProto of {len(dims)} dimensions")
    shape = (dims[0].size,) if len(dims) == 1 else tuple([dim.size for dim in dims])
    count = math.prod(shape)
    if (shape and min(shape) < 0) or (
        count > _ALWAYS_ALLOWED_VALUES and count * dtype.numpy.itemsize > MAX_TENSOR_BYTES
    ):
        raise InvalidInput(f"a TensorProto of impossible shape {list(shape)}")
    content = proto.tensor_content
    if content and count:
        flat = _content_strings(content, count) if dtype is dtypes.STRING else _content_numbers(content, count, dtype)
    else:
        flat = _typed_values(proto, dtype)
        if len(flat) != count:
            flat = _fit_count(flat, count, dtype, max_padding)
    if len(shape) == 1:
        return flat
    try:
        return flat.reshape(shape)
    except ValueError as error:  # too many dimensions for numpy, or a zero among huge sizes
        raise InvalidInput(f"a TensorProto of impossible shape {list(shape)}") from error


def _typed_values(proto: protos.TensorProto, dtype: DType) -> np.ndarray:
    """The values in the typed field (`float_val`, `int_val`, …) of a TensorProto, as a flat array."""
    if dtype is dtypes.STRING:
        strings = proto.string_val
        return object_array(strings if len(strings) > PIECE_VALUES else list(strings))
    if dtype.field == "float8_val":
        return np.frombuffer(proto.float8_val, dtype=dtype.numpy)
    values = getattr(proto, dtype.field)
    count = len(values)
    if count <= _FEW_VALUES:
        values = values[:]
    # The __array__ of newer versions of protobuf copies memory: 1 ms per million values. A list of them takes 260 ms.
    is_quick = count <= PIECE_VALUES or (count <= _MAX_COPIED_VALUES and hasattr(values, "__array__"))
    convert = np.array if is_quick else _in_pieces
    if dtype.field == "half_val":
        return convert(values, np.int32).astype(np.uint16).view(dtype.numpy)
    if dtype.field in _COMPLEX_FIELDS:
        parts = convert(values, _component_dtype(dtype))
        return parts[: len(parts) // 2 * 2].view(dtype.numpy)
    if dtype.field == "int_val":
        return from_int32(convert(values, np.int32), dtype)
    return convert(values, dtype.numpy)


def from_int32(values: np.ndarray, dtype: DType) -> np.ndarray:
    """The int32 values of `int_val` in the numpy form of a dtype. They keep their low bits, as in the C++ cast."""
    has_bits = dtype.numpy.names is not None  # 4-bit integers after `dtypes.use_bits`
    return (values & _NIBBLE if has_bits else values).astype(dtype.numpy)


def to_int32(array: np.ndarray, dtype: DType) -> np.ndarray:
    """The int32 values of `int_val` for an array of a dtype."""
    if array.dtype.names is None:
        return array.astype(np.int32)
    values = (array.view(np.uint8) & _NIBBLE).astype(np.int32)
    return (values ^ _SIGN) - _SIGN if dtype.name == "int4" else values


def _in_pieces(values: Sequence[float], dtype: npt.DTypeLike) -> np.ndarray:
    """The values of a repeated field as an array, made in pieces: other Python threads run in between."""
    count = len(values)
    array = np.empty(count, dtype)
    for start in range(0, count, PIECE_VALUES):
        array[start : start + PIECE_VALUES] = values[start : start + PIECE_VALUES]
    return array


def _component_dtype(dtype: DType) -> np.dtype:
    """The dtype of the real and the imaginary part of a complex dtype."""
    return np.dtype(np.float32 if dtype.name == "complex64" else np.float64)


def _fit_count(values: np.ndarray, count: int, dtype: DType, max_padding: int) -> np.ndarray:
    """Repeat the last value, or drop values, until there are `count`."""
    have = len(values)
    if have > count:
        return values[:count]
    padding = (count - have) * _value_bytes(dtype)
    if padding > MAX_PADDING_BYTES:
        raise InvalidInput(f"a TensorProto of {have} values for a shape of {count}")
    if padding > max_padding:
        raise LargePaddingError
    padded = np.empty(count, dtype=dtype.numpy)
    padded[:have] = values
    value = values[-1] if have else (b"" if dtype is dtypes.STRING else 0)
    step = PIECE_VALUES if dtype is dtypes.STRING else count  # numpy releases the GIL while it writes numbers
    for start in range(have, count, step):
        padded[start : start + step] = value
    return padded


def _value_bytes(dtype: DType) -> int:
    """The memory of one value; of a string, that of an empty one."""
    return _STRING_BYTES if dtype is dtypes.STRING else dtype.numpy.itemsize


def _content_numbers(content: bytes, count: int, dtype: DType) -> np.ndarray:
    """The numbers in tensor_content: the bytes of the array."""
    if len(content) != count * dtype.numpy.itemsize:
        raise InvalidInput(f"tensor_content of {len(content)} bytes for {count} values of {dtype.name}")
    return np.frombuffer(content, dtype=dtype.numpy)


def _content_strings(content: bytes, count: int) -> np.ndarray:
    """Strings in tensor_content: all lengths as varints, then all bytes (tensorflow/core/framework/tensor.cc)."""
    lengths, at = [], 0
    try:
        for _ in range(count):
            length, at = decode_varint(content, at)
            lengths.append(length)
    except DecodeError:
        raise InvalidInput("tensor_content of strings ends too early") from None
    if at + sum(lengths) != len(content):
        raise InvalidInput("tensor_content of strings has another length than its strings")
    strings = []
    for length in lengths:
        strings.append(content[at : at + length])
        at += length
    return object_array(strings)


def _to_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
