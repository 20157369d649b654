"""A cache of parsed PredictRequests: a request that differs from an earlier one in its values only is not parsed again.

Official clients write the values of the only input at the end of the message. The bytes in front of them (the prefix)
are then the same for all requests of one shape and length: they hold the model, the signature, the name of the input,
its dtype and its shape. The cache maps such a prefix to its parsed fields. The values are read from the rest:
a string as its bytes, floats and `tensor_content` as the memory of an array.
Format: https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from google.protobuf.message import DecodeError

from tfsctl.core import dtypes, protos
from tfsctl.core.dtypes import DType
from tfsctl.core.types import ModelRef
from tfsctl.server.status import invalid_argument

MAX_CACHED_MESSAGE_BYTES = 16 * 1024
"""Larger messages are rarely of equal length, and their parsing is a small part of their cost."""
MAX_PREFIX_BYTES = 1024
MAX_LENGTHS, MAX_PREFIXES_PER_LENGTH = 1024, 4  # with the limit above, some megabytes in all
_MAX_DIMENSIONS = 32  # of an array in all versions of NumPy
_VALUE_FIELDS = {dtypes.FLOAT: "float_val", dtypes.DOUBLE: "double_val"}  # packed: the values as they are in memory


@dataclass(slots=True)
class DecodedRequest:
    """A PredictRequest that was read without parsing its tensors: its inputs are arrays, by name."""

    model_spec: protos.ModelSpec
    inputs: Mapping[str, np.ndarray]
    output_filter: Sequence[str] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ValuesKind:
    """One input that is sent as nothing but its values. There is one object for equal ones, so that it is a quick key."""

    signature: str
    alias: str
    dtype: np.dtype
    """The dtype of the array; object for strings."""
    shape: tuple[int, ...]

    def array(self, values: bytes) -> np.ndarray:
        """The input's array."""
        if self.dtype.hasobject:
            array = np.empty(self.shape, object)
            array.fill(values)
            return array
        return np.ndarray(self.shape, self.dtype, values)


@lru_cache(1024)
def _kind(signature: str, alias: str, dtype: DType, shape: tuple[int, ...]) -> ValuesKind:
    return ValuesKind(signature, alias, dtype.numpy, shape)


@dataclass(frozen=True, slots=True)
class _Entry:
    prefix: bytes
    model_spec: protos.ModelSpec
    model: ModelRef
    kind: ValuesKind


class CachedRequest:
    """A request whose prefix is in the cache.

    Attributes:
        model_spec: the ModelSpec message of the request.
        model: the model that the request names.
        kind: how the values become an array. The signature that the request names is its `signature`.
        values: the bytes after the prefix.
    """

    __slots__ = ("kind", "model", "model_spec", "values")

    def __init__(self, entry: _Entry, values: bytes) -> None:
        self.model_spec, self.model, self.kind, self.values = entry.model_spec, entry.model, entry.kind, values

    @property
    def inputs(self) -> Mapping[str, np.ndarray]:
        """The input by its name."""
        return {self.kind.alias: self.kind.array(self.values)}


class PredictRequestCache:
    """Parses PredictRequests, and caches their prefixes. With `is_enabled` off it only parses."""

    def __init__(self, *, is_enabled: bool = True) -> None:
        self._is_enabled = is_enabled
        self._entries: dict[int, Sequence[_Entry]] = {}
        """By the length of the whole message."""

    def parse(self, raw: bytes) -> protos.PredictRequest | CachedRequest:
        """Read a serialized PredictRequest. Raises DecodeError if it is invalid."""
        entries = self._entries.get(len(raw), ())
        for entry in entries:
            prefix = entry.prefix
            if raw.startswith(prefix):
                return CachedRequest(entry, raw[len(prefix) :])
        request = protos.PredictRequest.FromString(raw)
        if not self._is_enabled or len(raw) > MAX_CACHED_MESSAGE_BYTES:
            return request
        new = _entry_for(raw, request)
        if new is None:
            return request
        if len(self._entries) >= MAX_LENGTHS:
            self._entries.clear()
        self._entries[len(raw)] = [new, *entries][:MAX_PREFIXES_PER_LENGTH]
        return CachedRequest(new, raw[len(new.prefix) :])


def _entry_for(raw: bytes, request: protos.PredictRequest) -> _Entry | None:
    """The cache entry for a request; None if its message does not end with the values of its only input."""
    if not request.model_spec.name or len(request.inputs) != 1 or request.output_filter:
        return None
    (alias,) = request.inputs
    tensor = request.inputs[alias]
    dtype = dtypes.BY_NUMBER.get(tensor.dtype)
    shape = tuple([dim.size for dim in tensor.tensor_shape.dim])
    if dtype is None or min(shape, default=1) < 1 or len(shape) > _MAX_DIMENSIONS:
        return None
    values, count = _values_at_end(tensor, dtype), math.prod(shape)
    is_whole = count == 1 if dtype is dtypes.STRING else len(values) == count * dtype.numpy.itemsize
    prefix = raw[: len(raw) - len(values)]
    if not values or not is_whole or len(prefix) > MAX_PREFIX_BYTES or not raw.endswith(values):
        return None
    if not _ends_with_values(prefix, values, request):
        return None
    spec = request.model_spec
    return _Entry(prefix, spec, model_ref(spec), _kind(spec.signature_name, alias, dtype, shape))


def _values_at_end(tensor: protos.TensorProto, dtype: DType) -> bytes:
    """The values of a tensor as the bytes that its message may end with; empty for those that are never cached."""
    content = tensor.tensor_content
    if dtype is dtypes.STRING:
        strings = tensor.string_val
        return strings[0] if len(strings) == 1 and not content else b""
    if content:
        return content
    if dtype in _VALUE_FIELDS:
        return np.array(getattr(tensor, _VALUE_FIELDS[dtype])[:], dtype.numpy).tobytes()
    return b""


def model_ref(spec: protos.ModelSpec) -> ModelRef:
    """The model and version that a request names. Raises INVALID_ARGUMENT if there is no name."""
    if not spec.name:
        raise invalid_argument("ModelSpec has no name specified.")
    choice = spec.WhichOneof("version_choice")
    if choice is None:
        return _latest(spec.name)
    return ModelRef(
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


_latest = lru_cache(ModelRef)


def _ends_with_values(prefix: bytes, values: bytes, request: protos.PredictRequest) -> bool:
    """Whether the last bytes of a message are its input's values, and not equal to them by chance.

    True if other bytes in their place make the same message with those bytes as its values.
    """
    others = (np.frombuffer(values, np.uint8) ^ 1).tobytes()
    expected = protos.PredictRequest()
    expected.CopyFrom(request)
    (alias,) = expected.inputs
    tensor = expected.inputs[alias]
    dtype = dtypes.BY_NUMBER[tensor.dtype]
    if tensor.tensor_content:
        tensor.tensor_content = others
    elif dtype is dtypes.STRING:
        tensor.string_val[:] = [others]
    elif dtype in _VALUE_FIELDS:
        getattr(tensor, _VALUE_FIELDS[dtype])[:] = np.frombuffer(others, dtype.numpy).tolist()
    else:
        return False
    try:
        found = protos.PredictRequest.FromString(prefix + others)
    except DecodeError:
        return False
    return found.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)
