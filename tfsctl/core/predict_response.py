"""Reads a PredictResponse from its bytes without copying large numeric outputs: these are views of the bytes.

The generated message class would copy each value twice. It still parses everything else: small outputs, values whose
wire format is not their memory, and unusual encodings. Formats: https://protobuf.dev/programming-guides/encoding,
tensorflow_serving/apis/predict.proto and tensorflow/core/framework/tensor.proto.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from tfsctl.core import dtypes, protos, tensors
from tfsctl.core.varint import decode_varint

_LARGE_BYTES = 4096
_OUTPUTS = 1  # field of PredictResponse
_KEY, _VALUE = 1, 2  # fields of a map entry
_CONTENT = 4  # field of TensorProto: tensor_content, the memory of numbers of any dtype
_MEMORY_OF = {
    5: dtypes.FLOAT,
    6: dtypes.DOUBLE,
}  # fields of TensorProto: packed values whose wire format is their memory
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types

Field = tuple[int, int, int, int, int]
"""A field: number, wire type, and the offsets of its start, its value and its end."""


def read_predict_response(raw: bytes) -> tuple[dict[str, np.ndarray], Any]:
    """The outputs by name, sorted, and the ModelSpec message. Large arrays are read-only.

    Raises InvalidInput for an invalid tensor, google.protobuf.message.DecodeError if the bytes are not a message.
    """
    outputs: dict[str, np.ndarray] = {}
    small = bytearray()
    for part in _fields(raw, 0, len(raw)):
        number, _, start, value, end = part
        if number != _OUTPUTS or end - value < _LARGE_BYTES or (found := _large_output(raw, value, end)) is None:
            small += raw[start:end]
        else:
            outputs[found[0]] = found[1]
    response = protos.PredictResponse.FromString(bytes(small))
    for name in response.outputs:
        outputs[name] = tensors.from_proto(response.outputs[name])
    return dict(sorted(outputs.items())), response.model_spec


def _large_output(raw: bytes, start: int, end: int) -> tuple[str, np.ndarray] | None:
    """The name and array of one map entry; None if its encoding is unusual."""
    parts = list(_fields(raw, start, end))
    if [(number, kind) for number, kind, *_ in parts] != [(_KEY, _BYTES), (_VALUE, _BYTES)]:
        return None
    (_, _, _, name, name_end), (_, _, _, tensor, tensor_end) = parts
    try:
        found = _large_array(raw, tensor, tensor_end)
        return None if found is None else (raw[name:name_end].decode(), found)
    except UnicodeDecodeError:
        return None


def _large_array(raw: bytes, start: int, end: int) -> np.ndarray | None:
    """The array of a TensorProto whose values are one contiguous field; None for any other."""
    parts = list(_fields(raw, start, end))
    large = [part for part in parts if part[4] - part[3] >= _LARGE_BYTES // 2]
    if len(large) != 1:
        return None
    number, kind, field_start, value, value_end = large[0]
    if kind != _BYTES or (number != _CONTENT and number not in _MEMORY_OF):
        return None
    if sum(part[0] == number for part in parts) != 1:
        return None
    proto = protos.TensorProto.FromString(raw[start:field_start] + raw[value_end:end])
    dtype = dtypes.BY_NUMBER.get(proto.dtype)
    if dtype is None or dtype is dtypes.STRING or _MEMORY_OF.get(number, dtype) is not dtype:
        return None
    shape = tuple([dim.size for dim in proto.tensor_shape.dim])
    count = (value_end - value) // dtype.numpy.itemsize
    if (value_end - value) % dtype.numpy.itemsize or any(size < 0 for size in shape) or math.prod(shape) != count:
        return None
    return np.frombuffer(raw, dtype.numpy, count, value).reshape(shape)


def _fields(raw: bytes, at: int, end: int) -> Iterator[Field]:
    """The fields of a message. Where it is invalid, the rest is returned as one field, which the generated class refuses."""
    while at < end:
        start = at
        try:
            tag, at = decode_varint(raw, at)
            kind = tag & 7
            if kind == _BYTES:
                size, value = decode_varint(raw, at)
                at = value + size
            elif kind == _VARINT:
                value = at
                _, at = decode_varint(raw, at)
            elif kind in (_FIXED32, _FIXED64):
                value, at = at, at + (4 if kind == _FIXED32 else 8)
            else:
                at = end + 1
        except IndexError:
            at = end + 1
        if at > end:
            yield 0, 0, start, start, end
            return
        yield tag >> 3, kind, start, value, at
