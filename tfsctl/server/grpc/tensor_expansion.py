"""Counts the memory of tensors that expand: a TensorProto with one value may stand for one of any shape."""

from __future__ import annotations

import math
from collections.abc import Mapping

from tfsctl.core import dtypes, protos
from tfsctl.core.tensors import MAX_PADDING_BYTES
from tfsctl.server.request_context import charge_memory

_SMALL_BYTES = 64 * 1024
_STRING_BYTES = 64  # memory of an empty string, the largest value
_COPIES = 3  # the input, an output of the same size, and the response


def charge_expansion(tensors: Mapping[str, protos.TensorProto]) -> None:
    """Charge what the inputs of a request take beyond the message they came in.

    Raises ServingError (RESOURCE_EXHAUSTED). Leaves shapes that `from_proto` refuses to it.
    """
    for alias in tensors:
        tensor = tensors[alias]
        dims = [dim.size for dim in tensor.tensor_shape.dim]
        count = math.prod(dims)
        if count * _STRING_BYTES <= _SMALL_BYTES:
            continue
        dtype = dtypes.BY_NUMBER.get(tensor.dtype)
        if dtype is None or min(dims, default=0) < 0:
            continue
        item_bytes = _STRING_BYTES if dtype is dtypes.STRING else dtype.numpy.itemsize
        expansion = count * item_bytes - tensor.ByteSize()
        if _SMALL_BYTES < expansion <= MAX_PADDING_BYTES:
            charge_memory(_COPIES * expansion)
