"""Tensors as the bytes of `tensor_content` (--enable_serialization_as_tensor_content).

Format: Tensor::AsProtoTensorContent in tensorflow/core/framework/tensor.cc: numbers as they lie in memory, strings as
their lengths (varints) and then all their bytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfsctl.core import dtypes
from tfsctl.core.varint import encode_varint


def fill_content(proto: Any, array: np.ndarray) -> None:  # noqa: ANN401 - a TensorProto
    """Write an array into an empty TensorProto, its values as bytes whatever its size."""
    dtype = dtypes.from_numpy(array.dtype)
    proto.dtype = dtype.number
    proto.tensor_shape.SetInParent()  # a scalar's shape is known too
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if dtype is dtypes.STRING:
        values = array.ravel().tolist()
        proto.tensor_content = b"".join((*(encode_varint(len(value)) for value in values), *values))
    else:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
