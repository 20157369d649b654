"""Reads large PredictRequests without copying their tensors, and without holding the GIL for long.

Parsing a message of tens of megabytes with protobuf takes tens of milliseconds, in which no other Python thread runs.
Here, floats and `tensor_content` stay where they are in the message, other numbers are decoded by numpy in pieces, and
strings are copied one by one.
Format: tensorflow_serving/apis/predict.proto and tensorflow/core/framework/tensor.proto.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError

from tfsctl.core import dtypes, protos, tensors
from tfsctl.core.dtypes import DType
from tfsctl.core.wire_format import LENGTH_DELIMITED, decode_varint, fields
from tfsctl.errors import InvalidInput
from tfsctl.server.grpc import packed_varints
from tfsctl.server.grpc.parse_in_pieces import MAX_NAME_BYTES, check_field_count, parse_in_pieces, shorten_names
from tfsctl.server.grpc.predict_request_cache import DecodedRequest
from tfsctl.server.grpc.tensor_content import read_strings
from tfsctl.server.process.loop_yield import yielding
from tfsctl.server.process.string_arrays import StringParts, copy_in_pieces
from tfsctl.server.request_context import check_string_count
from tfsctl.server.status import invalid_argument

# Field numbers of PredictRequest, of an entry of its `inputs`, and of TensorProto
_MODEL_SPEC, _INPUTS = 1, 2
_KEY, _VALUE = 1, 2
_OUTPUT_FILTER = 3
_CONTENT, _FLOATS, _DOUBLES, _STRINGS, _COMPLEX64, _COMPLEX128 = 4, 5, 6, 8, 9, 12
_IN_MEMORY_FORM = frozenset((_FLOATS, _DOUBLES, _COMPLEX64, _COMPLEX128))  # packed, they are the values' memory
_HEAD = frozenset((1, 2, 3))  # dtype, shape and version
_STRING_TAG = _STRINGS << 3 | LENGTH_DELIMITED
_MAX_TENSOR_FIELDS = 16  # before strings
_MAX_HEAD_BYTES = 64 * 1024  # of a shape with 254 dimensions, and their names
_MAX_FIELDS, _MAX_VIEWED_FIELDS = 10_000, 64  # of the request: inputs, and names of outputs
_SMALL_BYTES = 4096
_PIECE_BYTES = 128 * 1024
_PIECE_STRINGS = 1024  # copied one by one, in a millisecond


class _UnusualError(Exception):
    """The message needs protobuf's parser, or has an error that the parser reports."""


@dataclass(frozen=True, slots=True)
class UnusualRequest:
    """A large request that only protobuf's parser reads: of numbers that are not packed, or with unknown fields."""

    message: protos.PredictRequest
    nbytes: int
    """The size of the serialized message. `message.ByteSize()` takes as long as serializing it."""

    @property
    def model_spec(self) -> protos.ModelSpec:
        """The model that the request is for."""
        return self.message.model_spec


def parse_large_request(message: memoryview) -> DecodedRequest | UnusualRequest:
    """The request in a serialized PredictRequest. Raises DecodeError, and INVALID_ARGUMENT if it is over a limit."""
    request = read_large_request(message)
    if request is not None:
        return request
    check_field_count(message)
    parsed = parse_in_pieces(protos.PredictRequest(), message)
    shorten_names(parsed.model_spec)
    return UnusualRequest(parsed, len(message))


def read_large_request(message: memoryview, *, only_views: bool = False) -> DecodedRequest | None:
    """The request in a serialized PredictRequest; None if it has to be parsed by protobuf.

    Raises INVALID_ARGUMENT for a name or a shape that is far too long.

    With `only_views`, also None if large values would have to be copied, so that the call takes only microseconds.
    """
    try:
        return _read(message, only_views=only_views)
    except (_UnusualError, DecodeError, UnicodeDecodeError):
        return None


def _read(message: memoryview, *, only_views: bool) -> DecodedRequest:
    """The request in a serialized PredictRequest. Raises what `read_large_request` handles."""
    spec = b""
    inputs: dict[str, np.ndarray] = {}
    output_filter: list[str] = []
    for count, (number, wire_type, _, start, end) in enumerate(fields(message)):
        if count >= (_MAX_VIEWED_FIELDS if only_views else _MAX_FIELDS):
            raise _UnusualError
        if wire_type == LENGTH_DELIMITED and number == _MODEL_SPEC:
            if end - start > MAX_NAME_BYTES:
                raise _UnusualError
            spec += message[start:end]
        elif wire_type == LENGTH_DELIMITED and number == _INPUTS:
            alias, tensor = _entry(message[start:end])
            try:
                inputs[alias] = _array(tensor, only_views=only_views)
            except InvalidInput:
                raise invalid_argument(f"tensor parsing error: {alias}") from None
        elif wire_type == LENGTH_DELIMITED and number == _OUTPUT_FILTER:
            output_filter.append(str(_limited(message[start:end], MAX_NAME_BYTES, "name of an output"), "utf-8"))
        else:
            raise _UnusualError
    model_spec = protos.ModelSpec.FromString(spec)
    if not model_spec.name:
        raise _UnusualError
    return DecodedRequest(model_spec, inputs, output_filter)


def _entry(entry: memoryview) -> tuple[str, memoryview]:
    """The name of an input, and its serialized TensorProto."""
    found: dict[int, memoryview] = {}
    for number, wire_type, _, start, end in fields(entry):
        if wire_type != LENGTH_DELIMITED or number in found:
            raise _UnusualError
        found[number] = entry[start:end]
    if found.keys() != {_KEY, _VALUE}:
        raise _UnusualError
    return str(_limited(found[_KEY], MAX_NAME_BYTES, "name of an input"), "utf-8"), found[_VALUE]


def _limited(data: memoryview, limit: int, what: str) -> memoryview:
    if len(data) > limit:
        raise invalid_argument(f"A {what} of {len(data)} bytes")
    return data


def _array(tensor: memoryview, *, only_views: bool) -> np.ndarray:
    """The array of a serialized TensorProto. Raises _UnusualError, InvalidInput or DecodeError."""
    head = bytearray()
    strings: np.ndarray | None = None
    parts: dict[int, list[memoryview]] = {}  # of the values, by field
    for count, (number, wire_type, begin, start, end) in enumerate(fields(tensor)):
        if count > _MAX_TENSOR_FIELDS:
            raise _UnusualError
        if number in _HEAD:
            head += _limited(tensor[begin:end], _MAX_HEAD_BYTES, "shape")
        elif number == _STRINGS and not (only_views and len(tensor) > _SMALL_BYTES):
            strings = _strings(tensor, begin)
            break
        elif wire_type != LENGTH_DELIMITED or number == _STRINGS:
            raise _UnusualError
        else:
            parts.setdefault(number, []).append(tensor[start:end])
    proto = protos.TensorProto.FromString(bytes(head))
    shape = _shape(proto)
    dtype = dtypes.BY_NUMBER.get(proto.dtype)
    if dtype is None or len(parts) + (strings is not None) != 1 or (strings is not None and dtype is not dtypes.STRING):
        raise _UnusualError
    flat = _values(dtype, parts, math.prod(shape), only_views=only_views) if strings is None else strings
    if math.prod(shape) != len(flat):
        raise _UnusualError  # padded with the last value, or too many
    try:
        return flat.reshape(shape)
    except ValueError as error:  # too many dimensions for NumPy
        raise _UnusualError from error


def _shape(proto: protos.TensorProto) -> tuple[int, ...]:
    dims = proto.tensor_shape.dim
    shape = tuple([dim.size for dim in dims]) if len(dims) <= tensors.MAX_DIMENSIONS else (-1,)
    if min(shape, default=0) < 0:
        raise _UnusualError
    return shape


def _strings(tensor: memoryview, at: int) -> np.ndarray:
    """The strings that are the rest of a serialized TensorProto."""
    strings = StringParts()
    while at < len(tensor):
        values, at = _leading_strings(tensor, at, _PIECE_STRINGS)
        if not values:
            raise _UnusualError
        strings.add(values)
        check_string_count(strings.size, len(tensor))
    return strings.array()


def _leading_strings(tensor: memoryview, at: int, limit: int) -> tuple[list[bytes], int]:
    """Up to `limit` strings that follow each other from an offset on, and the offset after them. Raises DecodeError."""
    values: list[bytes] = []
    size = len(tensor)
    while at < size and tensor[at] == _STRING_TAG and len(values) < limit:
        length, at = decode_varint(tensor, at + 1)
        end = at + length
        if end > size:
            raise DecodeError("a string ends after its tensor")
        values.append(copy_in_pieces(tensor[at:end]))
        at = end
    return values, at


def _values(dtype: DType, parts: Mapping[int, Sequence[memoryview]], count: int, *, only_views: bool) -> np.ndarray:
    """The values of a tensor that are in one field, but for strings in a field of their own."""
    ((number, values),) = parts.items()
    if dtype is not dtypes.STRING:
        return _numbers(dtype, number, values, only_views=only_views)
    content = values[-1]
    if number != _CONTENT or not (content and count) or (only_views and len(content) > _SMALL_BYTES):
        raise _UnusualError
    try:
        return read_strings(content, count)
    except DecodeError as error:
        raise InvalidInput(str(error)) from None


def _numbers(dtype: DType, number: int, values: Sequence[memoryview], *, only_views: bool) -> np.ndarray:
    """The array of a numeric tensor whose values are in this field."""
    if number == _CONTENT:
        content = values[-1]  # a field that occurs twice has its last value
        if len(content) % dtype.numpy.itemsize:
            raise _UnusualError
        return np.frombuffer(content, dtype.numpy)
    if dtype.field == "float8_val":
        raise _UnusualError
    if protos.TensorProto.DESCRIPTOR.fields_by_name[dtype.field].number != number:
        raise _UnusualError
    if number in _IN_MEMORY_FORM:
        if any(len(part) % dtype.numpy.itemsize for part in values):
            raise _UnusualError
        arrays = [np.frombuffer(part, dtype.numpy) for part in values]
    elif only_views and sum(map(len, values)) > _SMALL_BYTES:
        raise _UnusualError
    else:
        arrays = [
            _of_varints(dtype, piece)
            for part in values
            for piece in yielding(packed_varints.pieces(part, _PIECE_BYTES))
        ]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _of_varints(dtype: DType, packed: memoryview) -> np.ndarray:
    """The array of packed varints, as protobuf and TensorFlow read them: narrow integers keep their low bits."""
    numbers = packed_varints.decode(packed)
    if dtype.name == "bool":
        return numbers != 0
    if dtype.field == "half_val":
        return numbers.astype(np.uint16).view(dtype.numpy)
    if dtype.field == "int_val":
        return tensors.from_int32(numbers.astype(np.uint32).view(np.int32), dtype)
    return numbers.astype(dtype.numpy)
