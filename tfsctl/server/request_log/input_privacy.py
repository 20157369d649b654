"""Drops or hashes inputs of logged requests, before they are written: the rules `drop` and `hash` of RequestLogging.

An input of Predict and a feature of the tf.Examples of Classify, Regress and MultiInference are treated alike.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Iterator, MutableMapping

import numpy as np

from tfsctl.core import protos, tensors
from tfsctl.core.arrays import object_array
from tfsctl.errors import InvalidInput

_HASH_BYTES = 16
_INT_MASK = 2**63 - 1


class InputPrivacy:
    """The rules of one log. The key of the hashes is random and never stored.

    Equal values have equal hashes within one log, and cannot be looked up outside of it.
    """

    def __init__(self, drop: Collection[str], hashed: Collection[str]) -> None:
        self._drop, self._hash = tuple(drop), tuple(hashed)
        self._key = secrets.token_bytes(32)

    @property
    def is_on(self) -> bool:
        """Whether there are any rules."""
        return bool(self._drop or self._hash)

    def apply(self, log: protos.PredictionLog) -> None:
        """Change a log entry as the rules say."""
        if log.HasField("predict_log"):
            self._apply_to_tensors(log.predict_log.request.inputs)
            return
        for features in _feature_maps(getattr(log, log.WhichOneof("log_type")).request.input):
            self._apply_to_features(features)

    def _apply_to_tensors(self, inputs: MutableMapping[str, protos.TensorProto]) -> None:
        for name in self._drop:
            inputs.pop(name, None)
        for name in (name for name in self._hash if name in inputs):
            try:
                array = self._hashed(tensors.from_proto(inputs[name]))
            except InvalidInput:
                array = None
            if array is None:
                del inputs[name]  # a hash cannot be written as a float
            else:
                inputs[name].CopyFrom(tensors.to_proto(array))

    def _hashed(self, array: np.ndarray) -> np.ndarray | None:
        """The hashes of strings or integers, as an array of the same dtype; None for any other dtype."""
        if array.dtype.hasobject:
            values = [self._digest(bytes(value)).hex().encode() for value in array.ravel().tolist()]
            return object_array(values).reshape(array.shape)
        if array.dtype.kind not in "iu":
            return None
        numbers = [self._number(int(value)) for value in array.ravel().tolist()]
        return np.array(numbers, np.uint64).astype(array.dtype).reshape(array.shape)

    def _apply_to_features(self, features: protos.Features) -> None:
        for name in self._drop:
            features.feature.pop(name, None)
        for name in (name for name in self._hash if name in features.feature):
            feature = features.feature[name]
            kind = feature.WhichOneof("kind")
            if kind == "bytes_list":
                feature.bytes_list.value[:] = [self._digest(one).hex().encode() for one in feature.bytes_list.value]
            elif kind == "int64_list":
                feature.int64_list.value[:] = [self._number(one) for one in feature.int64_list.value]
            else:
                del features.feature[name]

    def _digest(self, value: bytes) -> bytes:
        return hashlib.blake2b(value, digest_size=_HASH_BYTES, key=self._key).digest()

    def _number(self, value: int) -> int:
        return int.from_bytes(self._digest(b"%d" % value)[:8], "big") & _INT_MASK


def _feature_maps(message: protos.Input) -> Iterator[protos.Features]:
    kind = message.WhichOneof("kind")
    if kind is None:
        return
    listed = getattr(message, kind)
    if kind == "example_list_with_context":
        yield listed.context.features
    for example in listed.examples:
        yield example.features
