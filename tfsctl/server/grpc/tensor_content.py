"""Tensors whose values are bytes in `tensor_content` (--enable_serialization_as_tensor_content).

Numbers are written as they are in memory; strings as all lengths (varints), then all bytes.
Format: Tensor::AsProtoTensorContent in tensorflow/core/framework/tensor.cc.
"""

from __future__ import annotations

import numpy as np

from tfsctl.core import dtypes, protos, tensors
from tfsctl.core.wire_format import encode_varint


def fill_content(proto: protos.TensorProto, array: np.ndarray) -> None:
    """Write an array of any size into an empty TensorProto, its values as `tensor_content`."""
    dtype = dtypes.from_numpy(array.dtype)
    tensors.fill_head(proto, dtype, array.shape)
    if dtype is dtypes.STRING:
        values = array.ravel().tolist()
        proto.tensor_content = b"".join((*(encode_varint(len(value)) for value in values), *values))
    else:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
