"""Serializes PredictResponse without building the message.

The bytes around the values are the same for all responses of one shape, so they are cached. Packed floats are their
memory. Format: https://protobuf.dev/programming-guides/encoding and tensorflow_serving/apis/predict.proto.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from tfsctl.core import dtypes, protos, tensors
from tfsctl.core.varint import encode_varint
from tfsctl.server.grpc.tensor_content import fill_content

_OUTPUTS, _ALIAS, _TENSOR = b"\x0a", b"\x0a", b"\x12"  # tags: outputs and, in each of its entries, key and value
_FLOAT_VAL = b"\x2a"
_MAX_CACHED = 4096


def predict_response(
    name: str, version: int, signature: str, outputs: Mapping[str, np.ndarray], *, as_content: bool
) -> bytes:
    """A serialized PredictResponse. With `as_content`, the values of all tensors are in `tensor_content`."""
    parts: list[bytes] = []
    for alias, array in outputs.items():
        if array.dtype.char == "f" and array.size and not as_content:
            prefix = _float_prefix(array.shape)
            values = array.tobytes()
            tensor = b"%b%b%b%b" % (prefix, _FLOAT_VAL, encode_varint(len(values)), values)
        else:
            tensor = _serialized(array, as_content=as_content)
        entry = b"%b%b%b%b" % (_alias(alias), _TENSOR, encode_varint(len(tensor)), tensor)
        parts += (_OUTPUTS, encode_varint(len(entry)), entry)
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
def _float_prefix(shape: tuple[int, ...]) -> bytes:
    """The bytes of a TensorProto of floats in front of its values."""
    proto = protos.TensorProto(dtype=dtypes.FLOAT.number)
    proto.tensor_shape.SetInParent()  # a scalar has a shape, too
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto.SerializeToString()


@lru_cache(_MAX_CACHED)
def _alias(alias: str) -> bytes:
    raw = alias.encode()
    return _ALIAS + encode_varint(len(raw)) + raw


@lru_cache(_MAX_CACHED)
def _model_spec(name: str, version: int, signature: str) -> bytes:
    response = protos.PredictResponse()
    response.model_spec.name = name
    response.model_spec.version.value = version
    response.model_spec.signature_name = signature
    return response.SerializeToString()
