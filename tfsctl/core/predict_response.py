"""Reads a PredictResponse from its bytes without copying large numeric outputs: their arrays are views of the bytes.

The generated message class would copy each value twice. It still parses everything else: small outputs, values that are
encoded differently on the wire than in memory, and unusual encodings. Formats: https://protobuf.dev/programming-guides/encoding,
tensorflow_serving/apis/predict.proto and tensorflow/core/framework/tensor.proto.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from tfsctl.core import dtypes, protos, tensors
from tfsctl.core.wire_format import LENGTH_DELIMITED, WireField, fields

_LARGE_BYTES = 4096
_OUTPUTS = 1  # field of PredictResponse
_KEY, _VALUE = 1, 2  # fields of a map entry
_CONTENT = 4  # field of TensorProto: tensor_content, which holds numbers of any dtype as they are in memory
_PACKED_DTYPES = {5: dtypes.FLOAT, 6: dtypes.DOUBLE}  # float_val, double_val: packed values as they are in memory


def read_predict_response(raw: bytes) -> tuple[dict[str, np.ndarray], Any]:
    """The outputs by name, sorted, and the ModelSpec message. Large arrays are read-only.

    Raises InvalidInput for an invalid tensor, google.protobuf.message.DecodeError if the bytes are not a message.
    """
    try:
        outputs, others = _split(raw)
    except DecodeError:  # damaged, or with groups
        outputs, others = {}, raw
    response = protos.PredictResponse.FromString(others)
    for name in response.outputs:
        outputs[name] = tensors.from_proto(response.outputs[name])
    return dict(sorted(outputs.items())), response.model_spec


def _split(raw: bytes) -> tuple[dict[str, np.ndarray], bytes]:
    """The large outputs by name, and the fields that the message class has to parse."""
    outputs: dict[str, np.ndarray] = {}
    others = bytearray()
    for field in fields(raw):
        is_large = field.number == _OUTPUTS and field.end - field.value >= _LARGE_BYTES
        output = _large_output(raw, field) if is_large else None
        if output is None:
            others += raw[field.start : field.end]
        else:
            name, array = output
            outputs[name] = array
    return outputs, bytes(others)


def _large_output(raw: bytes, entry: WireField) -> tuple[str, np.ndarray] | None:
    """The name and array of one map entry; None if its encoding is unusual."""
    members = list(fields(raw, entry.value, entry.end))
    if [member[:2] for member in members] != [(_KEY, LENGTH_DELIMITED), (_VALUE, LENGTH_DELIMITED)]:
        return None
    key, tensor = members
    array = _large_array(raw, tensor)
    try:
        return None if array is None else (raw[key.value : key.end].decode(), array)
    except UnicodeDecodeError:
        return None


def _large_array(raw: bytes, tensor: WireField) -> np.ndarray | None:
    """The array of a TensorProto whose values are one contiguous field; None for any other."""
    members = list(fields(raw, tensor.value, tensor.end))
    large = [field for field in members if field.end - field.value >= _LARGE_BYTES // 2]
    if len(large) != 1:
        return None
    (values,) = large
    if values.wire_type != LENGTH_DELIMITED or (values.number != _CONTENT and values.number not in _PACKED_DTYPES):
        return None
    if sum(field.number == values.number for field in members) != 1:
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
