"""Tensors in their three forms, each way: JSON values <-> numpy arrays <-> TensorProto messages.

TensorProto: tensorflow/core/framework/tensor.proto, read as `Tensor::FromProto` reads it: too few values are padded
with the last one, extra values dropped. Strings are object arrays of bytes; in JSON text that is not UTF-8 is
`{"b64": …}`, as TensorFlow Serving's REST API has it.
"""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any

import numpy as np

from tfsctl.core import dtypes, protos
from tfsctl.core.dtypes import DType
from tfsctl.core.types import Json, TensorSpec
from tfsctl.core.varint import varint
from tfsctl.errors import InvalidInput

MAX_TENSOR_BYTES = 2**31 - 1  # what one message can carry; a shape may claim more with a single value
_SURELY_FITS = 2**24  # values, whatever their dtype
MAX_FILLED_BYTES = 64 * 1024 * 1024  # what a few bytes on the wire may become by padding
_STRING_BYTES = 64  # a string's cost, were it empty
_CONTENT_FROM_BYTES = 64  # below this, typed fields are as fast and readable in logs
_PACKED_FIELDS = {"float_val": 5, "double_val": 6}  # fields whose packed form is the array's memory, and their numbers
_PACK_FROM_BYTES = 1024


# ---- TensorProto ----
def to_proto(array: np.ndarray, *, as_content: bool = True) -> protos.TensorProto:
    """The TensorProto of an array; numbers as raw `tensor_content` when that is shorter to move, if `as_content`."""
    proto = protos.TensorProto()
    fill_proto(proto, array, as_content=as_content)
    return proto


def fill_proto(proto: protos.TensorProto, array: np.ndarray, *, as_content: bool = True) -> None:
    """Write an array into an empty TensorProto, as `to_proto` does."""
    dtype = dtypes.from_numpy(array.dtype)
    proto.dtype = dtype.number
    if array.ndim:
        add_dim = proto.tensor_shape.dim.add
        for size in array.shape:
            add_dim(size=size)
    else:
        proto.tensor_shape.SetInParent()  # a scalar's shape is known too
    if dtype is dtypes.STRING:
        values = array.ravel().tolist()
        proto.string_val.extend(values if set(map(type, values)) == {bytes} else map(_to_bytes, values))
    elif as_content and array.nbytes >= _CONTENT_FROM_BYTES:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
    else:
        _set_typed_values(proto, array, dtype)


def _set_typed_values(proto: protos.TensorProto, array: np.ndarray, dtype: DType) -> None:
    """Fill the typed field (`float_val`, `int_val`, …) of a TensorProto with all values of a numeric array."""
    flat = array.ravel()
    if dtype is dtypes.FLOAT and array.nbytes < _PACK_FROM_BYTES:
        proto.float_val.extend(flat.tolist())
    elif dtype.field == "half_val":
        proto.half_val.extend(flat.view(np.uint16).tolist())
    elif dtype.field == "float8_val":
        proto.float8_val = flat.tobytes()
    elif dtype.is_complex:
        getattr(proto, dtype.field).extend(flat.view(_part_of(dtype)).tolist())
    elif dtype.numpy.kind == "V":  # 4-bit integers, one a byte
        proto.int_val.extend(flat.astype(np.int32).tolist())
    elif dtype.field in _PACKED_FIELDS and array.nbytes >= _PACK_FROM_BYTES:
        proto.MergeFromString(_packed(_PACKED_FIELDS[dtype.field], np.ascontiguousarray(flat).tobytes()))
    else:
        getattr(proto, dtype.field).extend(flat.tolist())


def _packed(field_number: int, content: bytes) -> bytes:
    """A packed repeated field on the wire: tag, length, content. For floats that is their memory, no value touched."""
    return bytes([field_number << 3 | 2]) + varint(len(content)) + content


def from_proto(proto: protos.TensorProto) -> np.ndarray:
    """The array of a TensorProto. Raises InvalidInput for a dtype, shape or content that does not hold together."""
    dtype = dtypes.BY_NUMBER.get(proto.dtype)
    if dtype is None:
        raise InvalidInput(f"a TensorProto of unknown dtype {proto.dtype}")
    dims = proto.tensor_shape.dim
    shape = (dims[0].size,) if len(dims) == 1 else tuple([dim.size for dim in dims])
    count = math.prod(shape)
    if (shape and min(shape) < 0) or (count > _SURELY_FITS and count * dtype.numpy.itemsize > MAX_TENSOR_BYTES):
        raise InvalidInput(f"a TensorProto of impossible shape {list(shape)}")
    content = proto.tensor_content
    if content and count:
        flat = _content_strings(content, count) if dtype is dtypes.STRING else _content_numbers(content, count, dtype)
    else:
        flat = _fill(_typed_values(proto, dtype), count, dtype)
    if len(shape) == 1:
        return flat
    try:
        return flat.reshape(shape)
    except ValueError as error:  # more dimensions than numpy has, or none of them left by a zero among huge ones
        raise InvalidInput(f"a TensorProto of impossible shape {list(shape)}") from error


def _typed_values(proto: protos.TensorProto, dtype: DType) -> np.ndarray:
    if dtype is dtypes.STRING:
        return object_array(list(proto.string_val))
    if dtype.field == "float8_val":
        return np.frombuffer(proto.float8_val, dtype=dtype.numpy)
    values = getattr(proto, dtype.field)
    if dtype.field == "half_val":
        return np.array(values, dtype=np.int32).astype(np.uint16).view(dtype.numpy)
    if dtype.is_complex:
        parts = np.array(values, dtype=_part_of(dtype))
        return parts[: len(parts) // 2 * 2].view(dtype.numpy)
    if dtype.field == "int_val":  # narrower integers keep their low bits, as the C++ cast does
        return np.array(values, dtype=np.int32).astype(dtype.numpy)
    return np.array(values, dtype=dtype.numpy)


def _part_of(dtype: DType) -> np.dtype:
    """The real dtype of a complex dtype's two parts."""
    return np.dtype(np.float32 if dtype.name == "complex64" else np.float64)


def _fill(values: np.ndarray, count: int, dtype: DType) -> np.ndarray:
    have = len(values)
    if have == count:
        return values
    if have > count:
        return values[:count]
    if (count - have) * (_STRING_BYTES if dtype is dtypes.STRING else dtype.numpy.itemsize) > MAX_FILLED_BYTES:
        raise InvalidInput(f"a TensorProto of {have} values for a shape of {count}")
    padded = np.empty(count, dtype=dtype.numpy)
    padded[:have] = values
    padded[have:] = values[-1] if have else (b"" if dtype is dtypes.STRING else 0)
    return padded


def _content_numbers(content: bytes, count: int, dtype: DType) -> np.ndarray:
    if len(content) != count * dtype.numpy.itemsize:
        raise InvalidInput(f"tensor_content of {len(content)} bytes for {count} values of {dtype.name}")
    return np.frombuffer(content, dtype=dtype.numpy)


def _content_strings(content: bytes, count: int) -> np.ndarray:
    """Strings in tensor_content: all lengths as varints, then all bytes (tensorflow/core/framework/tensor.cc)."""
    lengths, at = [], 0
    for _ in range(count):
        length = shift = 0
        while True:
            if at >= len(content) or shift > 63:
                raise InvalidInput("tensor_content of strings ends too early")
            byte = content[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length)
    if at + sum(lengths) != len(content):
        raise InvalidInput("tensor_content of strings has another length than its strings")
    strings = []
    for length in lengths:
        strings.append(content[at : at + length])
        at += length
    return object_array(strings)


def object_array(values: list[Any]) -> np.ndarray:
    """A one-dimensional object array of the values, never unpacked further by numpy."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _to_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


# ---- JSON ----
def to_json(array: np.ndarray, *, b64: bool = False) -> Json:
    """Nested lists of the array's values; a scalar for rank 0.

    Strings that are not UTF-8, and all strings if `b64`, become `{"b64": …}`; complex numbers `[real, imaginary]`.
    """
    if array.dtype.kind in "SUO":
        values = [_string_to_json(_to_bytes(value), b64=b64) for value in array.ravel().tolist()]
        return object_array(values).reshape(array.shape).tolist()
    if array.dtype.kind == "c":
        return np.stack([array.real, array.imag], axis=-1).tolist()
    if array.dtype.kind == "V":  # ml_dtypes: bfloat16, 8-bit floats, 4-bit integers
        return array.astype(np.float64 if dtypes.from_numpy(array.dtype).is_floating else np.int32).tolist()
    return array.tolist()


def _string_to_json(value: bytes, *, b64: bool) -> object:
    if not b64:
        try:
            return value.decode()
        except UnicodeDecodeError:
            pass
    return {"b64": base64.b64encode(value).decode()}


def from_json(value: object, spec: TensorSpec) -> np.ndarray:
    """The array an input of a signature wants, from nested JSON lists of numbers, strings or `{"b64": …}`.

    Raises InvalidInput that says where (`text[1][0]`), what was found and what is wanted, when a value does not fit
    the dtype, lists are ragged, or the shape is not the input's.
    """
    dtype = dtypes.BY_NAME.get(spec.dtype)
    if dtype is None or dtype.name in ("resource", "variant"):
        raise InvalidInput(f"input {spec.name!r} has dtype {spec.dtype}, which cannot be written as JSON")
    array = _quick_numbers(value, dtype)
    if array is None:
        shape: list[int] = []
        leaves: list[object] = []
        _walk(value, spec, dtype, "", 0, shape, leaves)
        with np.errstate(over="ignore"):  # 1e39 is Infinity to a float32, as TensorFlow Serving reads it
            flat = object_array(leaves) if dtype is dtypes.STRING else np.array(leaves, dtype=dtype.numpy)
        array = flat.reshape(shape)
    check_shape(array.shape, spec)
    return array


def check_shape(shape: tuple[int, ...], spec: TensorSpec) -> None:
    """Raise InvalidInput unless `shape` fits the shape the signature gives for this input."""
    if spec.shape is None:
        return
    fits = len(shape) == len(spec.shape) and all(
        want in (None, have) for have, want in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        raise InvalidInput(
            f"input {spec.name!r} has shape {list(shape)}, but the model wants {spec.dtype} {spec.shape_text}"
        )


def _quick_numbers(value: object, dtype: DType) -> np.ndarray | None:
    """The array of well-formed numbers, without a Python step for each; None when a closer look is needed."""
    if dtype is dtypes.STRING or dtype.is_complex or dtype.name == "bool" or not isinstance(value, list):
        return None
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):
        return None
    if array.size == 0:
        return None
    if dtype.is_floating and array.dtype.kind in "iuf":
        with np.errstate(over="ignore"):
            return array.astype(dtype.numpy)
    if dtype.is_integer and array.dtype.kind in "iu" and dtype.numpy.kind in "iu":
        limits = np.iinfo(dtype.numpy)
        if limits.min <= array.min() and array.max() <= limits.max:
            return array.astype(dtype.numpy)
    return None


def _walk(
    value: object, spec: TensorSpec, dtype: DType, at: str, depth: int, shape: list[int], leaves: list[object]
) -> None:
    """Collect the leaves of nested lists in order; `shape` is fixed by the first list met at each depth."""
    if isinstance(value, (list, tuple)) and not (dtype.is_complex and _is_complex_pair(value)):
        if depth == len(shape):
            if leaves:
                raise InvalidInput(f"{spec.name}{at} is a list where a single {dtype.name} was found before")
            shape.append(len(value))
        elif shape[depth] != len(value):
            raise InvalidInput(f"{spec.name}{at} has {len(value)} values where the first such list has {shape[depth]}")
        for index, item in enumerate(value):
            _walk(item, spec, dtype, f"{at}[{index}]", depth + 1, shape, leaves)
        return
    if depth != len(shape):
        raise InvalidInput(f"{spec.name}{at} is a single value where a list was found before")
    leaves.append(_leaf(value, spec, dtype, at))


def _is_complex_pair(value: object) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(_is_number(part) for part in value)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _leaf(value: object, spec: TensorSpec, dtype: DType, at: str) -> object:
    """One JSON value as the Python value numpy takes for this dtype."""
    if dtype is dtypes.STRING:
        if isinstance(value, bytes):
            return value
        if isinstance(value, str):
            return value.encode("utf-8", "surrogateescape")
        if isinstance(value, dict) and value.keys() == {"b64"}:
            return _decode_b64(value["b64"], f"{spec.name}{at}")
    elif dtype.name == "bool":
        if isinstance(value, bool):
            return value
    elif dtype.is_complex:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return _real(value, spec, dtype, at)
        if isinstance(value, (list, tuple)) and _is_complex_pair(value):
            return complex(_real(value[0], spec, dtype, at), _real(value[1], spec, dtype, at))
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        return _real(value, spec, dtype, at) if dtype.is_floating else _whole(value, spec, dtype, at)
    raise InvalidInput(f"{spec.name}{at} is {_describe(value)}, but the model wants {dtype.name}")


def _real(value: float, spec: TensorSpec, dtype: DType, at: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise InvalidInput(f"{spec.name}{at} is too large for {dtype.name}") from None


def _whole(value: float, spec: TensorSpec, dtype: DType, at: str) -> int:
    if not math.isfinite(value) or value != int(value):
        raise InvalidInput(f"{spec.name}{at} is {value}, but the model wants {dtype.name}: a whole number")
    bits = int("".join(c for c in dtype.name if c.isdigit()))
    low, high = (0, 2**bits - 1) if dtype.name.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if not low <= value <= high:
        raise InvalidInput(f"{spec.name}{at} is {int(value)}, but {dtype.name} goes from {low} to {high}")
    return int(value)


def _decode_b64(text: object, where: str) -> bytes:
    try:
        if isinstance(text, str):
            return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise InvalidInput(f'{where}: the value of "b64" is not base64 (standard alphabet)')


def _describe(value: object) -> str:
    names = {dict: "an object", list: "a list", bool: "a boolean", type(None): "null", str: "text", bytes: "bytes"}
    name = names.get(type(value), "a number")
    return name if isinstance(value, (dict, list)) or value is None else f"{name} ({str(value)[:40]!r})"
