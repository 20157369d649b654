"""Counts the memory of tensors that expand: a TensorProto with one value may stand for one of any shape."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tfsctl.core import dtypes, protos
from tfsctl.core.tensors import MAX_TENSOR_BYTES
from tfsctl.server.request_context import charge_memory

_SMALL_BYTES = 64 * 1024
_COPIES = 3  # the input, an output of the same size, and the response


def charge_expansion(tensors: Mapping[str, protos.TensorProto]) -> None:
    """Charge what the inputs of a request take beyond the message they came in.

    Raises ServingError (RESOURCE_EXHAUSTED). Leaves shapes that are impossible to whoever reads the tensors.
    """
    for alias in tensors:
        tensor = tensors[alias]
        dims = [dim.size for dim in tensor.tensor_shape.dim]
        count = math.prod(dims)
        if count * _LARGEST_ITEM <= _SMALL_BYTES or min(dims) < 0:
            continue
        dtype = dtypes.BY_NUMBER.get(tensor.dtype)
        size = count * dtype.numpy.itemsize if dtype is not None else 0
        expansion = size - tensor.ByteSize()
        if expansion > _SMALL_BYTES and size <= MAX_TENSOR_BYTES:
            charge_memory(_COPIES * expansion)


_LARGEST_ITEM = 16  # bytes, of complex128
