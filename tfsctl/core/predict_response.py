"""Reads a PredictResponse from its bytes without copying large numeric outputs: their arrays are views of the bytes.

The generated message class would copy each value twice. It still parses everything else: small outputs, values that are
encoded differently on the wire than in memory, and unusual encodings. Formats: https://protobuf.dev/programming-guides/encoding,
tensorflow_serving/apis/predict.proto and tensorflow/core/framework/tensor.proto.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tfsctl.core import dtypes, protos, tensors
from tfsctl.core.varint import decode_varint

_LARGE_BYTES = 4096
_OUTPUTS = 1  # field of PredictResponse
_KEY, _VALUE = 1, 2  # fields of a map entry
_CONTENT = 4  # field of TensorProto: tensor_content, which holds numbers of any dtype as they are in memory
_PACKED_DTYPES = {5: dtypes.FLOAT, 6: dtypes.DOUBLE}  # float_val, double_val: packed values as they are in memory
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types


class _Field(NamedTuple):
    """A field of a serialized message: its number, its wire type, and the offsets of its tag, its value and its end."""

    number: int
    wire_type: int
    start: int
    value: int
    end: int


def read_predict_response(raw: bytes) -> tuple[dict[str, np.ndarray], Any]:
    """The outputs by name, sorted, and the ModelSpec message. Large arrays are read-only.

    Raises InvalidInput for an invalid tensor, google.protobuf.message.DecodeError if the bytes are not a message.
    """
    outputs: dict[str, np.ndarray] = {}
    others = bytearray()  # the fields that the message class parses
    for field in _fields(raw, 0, len(raw)):
        is_large = field.number == _OUTPUTS and field.end - field.value >= _LARGE_BYTES
        output = _large_output(raw, field) if is_large else None
        if output is None:
            others += raw[field.start : field.end]
        else:
            name, array = output
            outputs[name] = array
    response = protos.PredictResponse.FromString(bytes(others))
    for name in response.outputs:
        outputs[name] = tensors.from_proto(response.outputs[name])
    return dict(sorted(outputs.items())), response.model_spec


def _large_output(raw: bytes, entry: _Field) -> tuple[str, np.ndarray] | None:
    """The name and array of one map entry; None if its encoding is unusual."""
    fields = list(_fields(raw, entry.value, entry.end))
    if [(field.number, field.wire_type) for field in fields] != [(_KEY, _BYTES), (_VALUE, _BYTES)]:
        return None
    key, tensor = fields
    array = _large_array(raw, tensor)
    try:
        return None if array is None else (raw[key.value : key.end].decode(), array)
    except UnicodeDecodeError:
        return None


def _large_array(raw: bytes, tensor: _Field) -> np.ndarray | None:
    """The array of a TensorProto whose values are one contiguous field; None for any other."""
    fields = list(_fields(raw, tensor.value, tensor.end))
    large = [field for field in fields if field.end - field.value >= _LARGE_BYTES // 2]
    if len(large) != 1:
        return None
    (values,) = large
    if values.wire_type != _BYTES or (values.number != _CONTENT and values.number not in _PACKED_DTYPES):
        return None
    if sum(field.number == values.number for field in fields) != 1:
        return None
    proto = protos.TensorProto.FromString(raw[tensor.value : values.start] + raw[values.end : tensor.end])
    dtype = dtypes.BY_NUMBER.get(proto.dtype)
    if dtype is None or dtype is dtypes.STRING or _PACKED_DTYPES.get(values.number, dtype) is not dtype:
        return None
    shape = tuple([dim.size for dim in proto.tensor_shape.dim])
    count, rest = divmod(values.end - values.value, dtype.numpy.itemsize)
    if rest or any(size < 0 for size in shape) or math.prod(shape) != count:
        return None
    return np.frombuffer(raw, dtype.numpy, count, values.value).reshape(shape)


def _fields(raw: bytes, at: int, end: int) -> Iterator[_Field]:
    """The fields of a message. The rest of an invalid message is one field, which the generated class refuses."""
    while at < end:
        start = at
        try:
            tag, at = decode_varint(raw, at)
            wire_type = tag & 7
            if wire_type == _BYTES:
                size, value = decode_varint(raw, at)
                at = value + size
            elif wire_type == _VARINT:
                value = at
                _, at = decode_varint(raw, at)
            elif wire_type in (_FIXED32, _FIXED64):
                value, at = at, at + (4 if wire_type == _FIXED32 else 8)
            else:
                at = end + 1
        except IndexError:
            at = end + 1
        if at > end:
            yield _Field(0, 0, start, start, end)
            return
        yield _Field(tag >> 3, wire_type, start, value, at)
