"""Cached PredictRequests are read as protobuf reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfsctl.core import dtypes, protos, tensors
from tfsctl.core.arrays import object_array
from tfsctl.server.grpc.predict_request_cache import (
    MAX_CACHED_MESSAGE_BYTES,
    MAX_LENGTHS,
    MAX_PREFIX_BYTES,
    MAX_PREFIXES_PER_LENGTH,
    CachedRequest,
    PredictRequestCache,
)


@pytest.fixture
def cache() -> PredictRequestCache:
    """An empty cache."""
    return PredictRequestCache()


def request(*arrays: np.ndarray, as_content: bool = False, **spec: Any) -> Any:
    """A PredictRequest with inputs x0, x1 and so on."""
    message = protos.PredictRequest(model_spec={"name": "m", **spec})
    for index, array in enumerate(arrays):
        tensors.fill_proto(message.inputs[f"x{index}"], array, as_content=as_content)
    return message


def text(value: bytes) -> np.ndarray:
    """A tensor of one string."""
    return object_array([value])


def assert_equal_to_official(found: CachedRequest, raw: bytes) -> None:
    """Check that a cached request equals the parsed message."""
    official = protos.PredictRequest.FromString(raw)
    assert found.model_spec == official.model_spec
    assert list(found.inputs) == list(official.inputs)
    for alias, array in found.inputs.items():
        wanted = tensors.from_proto(official.inputs[alias])
        assert (array.dtype, array.shape) == (wanted.dtype, wanted.shape)
        assert array.tolist() == wanted.tolist() if array.dtype.hasobject else array.tobytes() == wanted.tobytes()


@given(st.binary(min_size=1, max_size=40), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_strings_of_one_length_share_an_entry(value: bytes, random: Any) -> None:
    """NUL bytes included; a string of another length is another entry."""
    cache = PredictRequestCache()
    specs = []  # each entry has its own
    for sent in (value, random.randbytes(len(value)), value + b"x"):
        raw = request(text(sent)).SerializeToString()
        found = cache.parse(raw)
        assert isinstance(found, CachedRequest)
        assert_equal_to_official(found, raw)
        specs.append(found.model_spec)
    assert specs[0] is specs[1]
    assert specs[0] is not specs[2]


@given(st.data(), st.sampled_from(["float32", "float64", "int64", "uint8", "bool"]), st.booleans())
@settings(max_examples=300, deadline=None)
def test_floats_and_tensor_content_are_cached(data: st.DataObject, name: str, as_content: bool) -> None:
    """Other numbers are not cached: they are read by protobuf."""
    cache = PredictRequestCache()
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=3, max_side=4))
    dtype = dtypes.BY_NAME[name].numpy
    for _ in range(2):
        array = data.draw(hnp.arrays(dtype, shape))
        raw = request(array, as_content=as_content).SerializeToString()
        found = cache.parse(raw)
        if isinstance(found, CachedRequest):
            assert_equal_to_official(found, raw)
        else:
            assert not found.inputs["x0"].tensor_content
            assert name not in ("float32", "float64")
            assert found == protos.PredictRequest.FromString(raw)


@pytest.mark.parametrize(
    "message",
    [
        request(text(b"one"), text(b"two")),
        request(),
        request(object_array([b"one", b"two"])),
        request(text(b"")),
        request(np.array([3, 4], np.int64)),
        protos.PredictRequest(inputs=request(text(b"one")).inputs),
        protos.PredictRequest(model_spec={"name": "m"}, inputs=request(text(b"one")).inputs, output_filter=["y"]),
        protos.PredictRequest(model_spec={"name": "m"}, inputs={"x": {"dtype": 1, "float_val": [1.0]}}),
        protos.PredictRequest(model_spec={"name": "m"}, inputs={"x": {"dtype": 99}}),
        protos.PredictRequest(
            model_spec={"name": "m"},
            inputs={"x": {"dtype": 1, "float_val": [1.0], "tensor_shape": {"dim": [{"size": 1000}] * 2}}},
        ),
        protos.PredictRequest(
            model_spec={"name": "m"},
            inputs={"x": {"dtype": 1, "float_val": [1.0], "tensor_shape": {"dim": [{"size": -1}] * 2}}},
        ),
        protos.PredictRequest(
            model_spec={"name": "m"},
            inputs={"x": {"dtype": 1, "float_val": [1.0], "tensor_shape": {"dim": [{"size": 1}] * 100}}},
        ),
        protos.PredictRequest(model_spec={"name": "m"}, inputs={"x": {"dtype": 1, "tensor_content": b"\0" * 6}}),
        protos.PredictRequest(model_spec={"name": "m"}, inputs={"x": {"dtype": 7, "tensor_content": b"\x03abc"}}),
        protos.PredictRequest(
            model_spec={"name": "m"},
            inputs={"x": {"dtype": 1, "tensor_content": b"\0" * 4, "float_val": [1.0]}},
        ),
        request(text(b"long" * 5000)),
        request(text(b"x"), signature_name="long" * 300),
    ],
)
def test_requests_with_other_fields_are_not_cached(cache: PredictRequestCache, message: Any) -> None:
    """Several inputs or strings, none, an output filter, integers as varints, invalid tensors, long messages."""
    raw = message.SerializeToString(deterministic=True)
    again = [cache.parse(raw) for _ in range(2)][1]
    if isinstance(again, CachedRequest):  # a scalar of one value
        assert_equal_to_official(again, raw)
    else:
        assert again == message


def test_a_message_that_ends_like_its_values_by_chance_is_not_cached(cache: PredictRequestCache) -> None:
    """A version label after the input may have the same text as the value."""
    message = request(text(b"stable"), version_label="stable")
    spec = message.model_spec.SerializeToString()
    alone = protos.PredictRequest(inputs=message.inputs).SerializeToString()
    raw = alone + b"\x0a" + bytes([len(spec)]) + spec
    assert raw.endswith(b"stable")
    for _ in range(2):
        found = cache.parse(raw)
        assert not isinstance(found, CachedRequest)
        assert found == message


def test_models_are_told_apart(cache: PredictRequestCache) -> None:
    """Requests of equal length for several models, signatures and versions."""
    messages = [
        request(text(b"good"), name="a"),
        request(text(b"good"), name="b"),
        request(text(b"evil"), name="a", signature_name="s"),
        request(text(b"evil"), name="a", version_label="s"),
        request(text(b"evil"), name="a", version={"value": 7}),
    ]
    for _ in range(3):
        for message in messages:
            raw = message.SerializeToString()
            found = cache.parse(raw)
            assert found.model_spec == message.model_spec
            assert object_array([b"good"]).shape == (1,)
            if isinstance(found, CachedRequest):
                assert_equal_to_official(found, raw)


def test_invalid_messages_are_refused_despite_the_cache(cache: PredictRequestCache) -> None:
    """Also if a message of the same length is cached."""
    raw = request(text(b"good")).SerializeToString()
    cache.parse(raw)
    with pytest.raises(DecodeError):
        cache.parse(b"\xff" + raw[1:])


def test_the_cache_is_bounded(cache: PredictRequestCache) -> None:
    """It holds a bounded number of short prefixes, whatever requests arrive."""
    for number in range(3000):
        cache.parse(request(text(b"x" * (number % 1500 + 1)), name=f"m{number % 7}").SerializeToString())
    assert len(cache._entries) <= MAX_LENGTHS
    assert all(len(entries) <= MAX_PREFIXES_PER_LENGTH for entries in cache._entries.values())
    assert all(len(entry.prefix) <= MAX_PREFIX_BYTES for entries in cache._entries.values() for entry in entries)


@pytest.mark.parametrize("count", [256, 1000, MAX_CACHED_MESSAGE_BYTES // 4 - 100])
def test_requests_of_some_kilobytes_are_cached(cache: PredictRequestCache, count: int) -> None:
    """The length of the values does not matter up to the limit, because only the prefix is kept."""
    first, second = (request(np.full(count, value, np.float32)).SerializeToString() for value in (1.5, 2.5))
    cache.parse(first)
    found = cache.parse(second)
    assert isinstance(found, CachedRequest)
    assert_equal_to_official(found, second)


def test_a_disabled_cache_only_parses() -> None:
    """--disable_request_optimizations: nothing is cached."""
    cache = PredictRequestCache(is_enabled=False)
    raw = request(text(b"good")).SerializeToString()
    for _ in range(2):
        assert cache.parse(raw) == protos.PredictRequest.FromString(raw)
    assert not cache._entries
