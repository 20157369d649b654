"""PredictRequests like one before are read as the official message reads them, whatever they hold."""

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
from tfsctl.server.grpc import predict_request_cache
from tfsctl.server.grpc.predict_request_cache import LikeOneBefore, read


@pytest.fixture(autouse=True)
def _nothing_known() -> None:
    predict_request_cache._known.clear()


def request(*arrays: np.ndarray, as_content: bool = False, **spec: Any) -> Any:
    """A PredictRequest with inputs x0, x1 and so on."""
    message = protos.PredictRequest(model_spec={"name": "m", **spec})
    for index, array in enumerate(arrays):
        tensors.fill_proto(message.inputs[f"x{index}"], array, as_content=as_content)
    return message


def text(value: bytes) -> np.ndarray:
    """A tensor of one string."""
    return object_array([value])


def agree(found: LikeOneBefore, raw: bytes) -> None:
    """Check that this is what the official message says."""
    official = protos.PredictRequest.FromString(raw)
    assert found.model_spec == official.model_spec
    assert list(found.inputs) == list(official.inputs)
    for alias, array in found.inputs.items():
        wanted = tensors.from_proto(official.inputs[alias])
        assert (array.dtype, array.shape) == (wanted.dtype, wanted.shape)
        assert array.tolist() == wanted.tolist() if array.dtype.hasobject else array.tobytes() == wanted.tobytes()


@given(st.binary(min_size=1, max_size=40), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_strings(value: bytes, random: Any) -> None:
    """Texts of one length, NULs and all; of another length they are another request."""
    predict_request_cache._known.clear()
    read(request(text(value)).SerializeToString())
    other = random.randbytes(len(value))
    raw = request(text(other)).SerializeToString()
    found = read(raw)
    assert isinstance(found, LikeOneBefore)
    agree(found, raw)
    assert not isinstance(read(request(text(value + b"x")).SerializeToString()), LikeOneBefore)


@given(st.data(), st.sampled_from(["float32", "float64", "int64", "uint8", "bool"]), st.booleans())
@settings(max_examples=300, deadline=None)
def test_numbers(data: st.DataObject, name: str, as_content: bool) -> None:
    """Floats are their memory, others in tensor_content only; whatever is not known is read as before."""
    predict_request_cache._known.clear()
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=3, max_side=4))
    dtype = dtypes.BY_NAME[name].numpy
    one, other = (data.draw(hnp.arrays(dtype, shape)) for _ in range(2))
    read(request(one, as_content=as_content).SerializeToString())
    raw = request(other, as_content=as_content).SerializeToString()
    found = read(raw)
    if isinstance(found, LikeOneBefore):
        agree(found, raw)
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
        request(text(b"long" * 1000)),
    ],
)
def test_not_known(message: Any) -> None:
    """Several inputs or values, none, other outputs than all, integers of any length, what is wrong or long."""
    raw = message.SerializeToString(deterministic=True)
    again = [read(raw) for _ in range(2)][1]
    if isinstance(again, LikeOneBefore):  # a scalar of one value
        agree(again, raw)
    else:
        assert again == message


def test_values_that_stand_elsewhere() -> None:
    """The end of a message may look like its values: a label that is the text, after it."""
    message = request(text(b"stable"), version_label="stable")
    spec = message.model_spec.SerializeToString()
    alone = protos.PredictRequest(inputs=message.inputs).SerializeToString()
    raw = alone + b"\x0a" + bytes([len(spec)]) + spec
    assert raw.endswith(b"stable")
    for _ in range(2):
        found = read(raw)
        assert not isinstance(found, LikeOneBefore)
        assert found == message


def test_models_are_told_apart() -> None:
    """Requests of one length for several models, signatures and versions."""
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
            found = read(raw)
            assert found.model_spec == message.model_spec
            assert object_array([b"good"]).shape == (1,)
            if isinstance(found, LikeOneBefore):
                agree(found, raw)


def test_what_is_no_message() -> None:
    """Is refused as before, with something like it known."""
    raw = request(text(b"good")).SerializeToString()
    read(raw)
    with pytest.raises(DecodeError):
        read(b"\xff" + raw[1:])


def test_memory_is_bounded() -> None:
    """However many different requests come."""
    for number in range(3000):
        read(request(text(b"x" * (number % 1500 + 1)), name=f"m{number % 7}").SerializeToString())
    assert len(predict_request_cache._known) <= 1024
    assert all(len(alike) <= 4 for alike in predict_request_cache._known.values())
