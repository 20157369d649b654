"""Serializes PredictResponse without building the message.

The bytes around the values are the same for all responses of one shape, so they are cached. Packed floats are their
memory. Format: https://protobuf.dev/programming-guides/encoding and tensorflow_serving/apis/predict.proto.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from tfsctl.core import dtypes, protos, tensors
from tfsctl.core.varint import encode_varint
from tfsctl.server.grpc.tensor_content import fill_content

_OUTPUTS, _ALIAS, _TENSOR = b"\x0a", b"\x0a", b"\x12"  # tags: outputs and, in each of its entries, key and value
_FLOAT_VAL, _FLOAT_BYTES = b"\x2a", 4
_MAX_CACHED = 4096


def predict_response(
    name: str, version: int, signature: str, outputs: Mapping[str, np.ndarray], *, as_content: bool
) -> bytes:
    """A serialized PredictResponse. With `as_content`, the values of all tensors are in `tensor_content`."""
    parts: list[bytes] = []
    for alias, array in outputs.items():
        if array.dtype.char == "f" and array.size and not as_content:
            parts += (_float_prefix(alias, array.shape), array.tobytes())
        else:
            tensor = _serialized(array, as_content=as_content)
            parts += (_entry_prefix(alias, len(tensor)), tensor)
    parts.append(_model_spec(name, version, signature))
    return b"".join(parts)


def _serialized(array: np.ndarray, *, as_content: bool) -> bytes:
    proto = protos.TensorProto()
    if as_content:
        fill_content(proto, array)
    else:
        tensors.fill_proto(proto, array, as_content=False)
    return proto.SerializeToString()


@lru_cache(_MAX_CACHED)
def _float_prefix(alias: str, shape: tuple[int, ...]) -> bytes:
    """All bytes in front of the values of a float output: its entry in the map, its TensorProto up to `float_val`."""
    proto = protos.TensorProto(dtype=dtypes.FLOAT.number)
    proto.tensor_shape.SetInParent()  # a scalar has a shape, too
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    size = math.prod(shape) * _FLOAT_BYTES
    tensor = proto.SerializeToString() + _FLOAT_VAL + encode_varint(size)
    return _entry_prefix(alias, len(tensor) + size) + tensor


def _entry_prefix(alias: str, tensor_size: int) -> bytes:
    """The bytes of an entry of `outputs` in front of its TensorProto."""
    name = alias.encode()
    entry = _ALIAS + encode_varint(len(name)) + name + _TENSOR + encode_varint(tensor_size)
    return _OUTPUTS + encode_varint(len(entry) + tensor_size) + entry


@lru_cache(_MAX_CACHED)
def _model_spec(name: str, version: int, signature: str) -> bytes:
    response = protos.PredictResponse()
    response.model_spec.name = name
    response.model_spec.version.value = version
    response.model_spec.signature_name = signature
    return response.SerializeToString()
