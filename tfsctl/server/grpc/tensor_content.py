"""Tensors whose values are bytes in `tensor_content` (--enable_serialization_as_tensor_content).

Numbers are written as they are in memory; strings as all lengths (varints), then all bytes.
Format: Tensor::AsProtoTensorContent in tensorflow/core/framework/tensor.cc.
"""

from __future__ import annotations

import numpy as np
from google.protobuf.message import DecodeError

from tfsctl.core import dtypes, protos, tensors
from tfsctl.core.arrays import pieces
from tfsctl.core.wire_format import encode_varint
from tfsctl.server.grpc import packed_varints
from tfsctl.server.process.loop_yield import yield_to_loop
from tfsctl.server.process.string_arrays import StringParts, copy_in_pieces
from tfsctl.server.request_context import check_string_count

_PIECE_BYTES = 64 * 1024  # of the lengths


def fill_content(proto: protos.TensorProto, array: np.ndarray) -> None:
    """Write an array of any size into an empty TensorProto, its values as `tensor_content`."""
    dtype = dtypes.from_numpy(array.dtype)
    tensors.fill_head(proto, dtype, array.shape)
    if dtype is dtypes.STRING:
        values = array.ravel().tolist()
        proto.tensor_content = b"".join((*(encode_varint(len(value)) for value in values), *values))
    else:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()


def read_strings(content: memoryview, count: int) -> np.ndarray:
    """The `count` strings in `tensor_content`, as an array [count].

    Raises DecodeError if the content is not that many strings, and RESOURCE_EXHAUSTED if they take too much memory.
    """
    check_string_count(count, len(content))
    lengths, at = _lengths(content, count)
    if at + sum(int(part.sum()) for part in lengths) != len(content):
        raise DecodeError("tensor_content of strings has another length than its strings")
    strings = StringParts()
    for part in lengths:
        for piece in pieces(part):
            ends = (at + np.cumsum(piece)).tolist()
            strings.add([copy_in_pieces(content[start:end]) for start, end in zip([at, *ends], ends, strict=False)])
            at = ends[-1]
    return strings.array()


def _lengths(content: memoryview, count: int) -> tuple[list[np.ndarray], int]:
    """The `count` lengths that content begins with, as int64, and the offset after them. Raises DecodeError."""
    parts: list[np.ndarray] = []
    at = 0
    while count:
        piece = content[at : at + _PIECE_BYTES]
        ends = np.flatnonzero(np.frombuffer(piece, np.uint8) < 0x80)[:count] + 1
        if not len(ends):
            raise DecodeError("tensor_content of strings ends too early")
        lengths = packed_varints.decode(piece[: ends[-1]])
        if lengths.max() > len(content):
            raise DecodeError("a string ends after its tensor_content")
        parts.append(lengths.astype(np.int64))
        count, at = count - len(ends), at + int(ends[-1])
        yield_to_loop()
    return parts, at
