"""Tensors whose values are written to `tensor_content` (--enable_serialization_as_tensor_content)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from echo_models import echo_model_flags
from grpc_requests import PREDICT
from model_servers import Served, running_flags

from tfsctl.core import dtypes, protos, tensors
from tfsctl.server.grpc.tensor_content import fill_content


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of an echo model that writes tensors as `tensor_content`."""
    folder = tmp_path_factory.mktemp("tensor_content")
    with running_flags([*echo_model_flags(folder), "--enable_serialization_as_tensor_content"], folder) as running:
        yield running


@pytest.mark.server
def test_predict_can_write_tensor_content(server: Served) -> None:
    """Tensors of any size, strings included; official clients read it."""
    values = np.array(["a", "", "x" * 300], object)
    request: Any = protos.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "echo", "text"
    request.inputs["text"].CopyFrom(tensors.to_proto(values))
    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}") as channel:
        call = channel.unary_unary(PREDICT, protos.PredictRequest.SerializeToString, protos.PredictResponse.FromString)
        output = call(request, timeout=240).outputs["text"]

    assert output.tensor_content == b"\x01\x00\xac\x02a" + b"x" * 300
    assert not output.string_val


@pytest.mark.parametrize(
    ("array", "content"),
    [
        (np.array([1.0, -2.5], np.float32), b"\x00\x00\x80?\x00\x00 \xc0"),
        (np.array(7, np.int64), b"\x07" + b"\x00" * 7),
        (np.array([[True, False]]), b"\x01\x00"),
        (np.array([[1, 2], [3, 4]], np.int8).T, b"\x01\x03\x02\x04"),
        (np.zeros((0, 3), np.float32), b""),
    ],
)
def test_numbers_are_written_in_row_major_order(array: np.ndarray, content: bytes) -> None:
    """With the dtype and the shape."""
    check_content(array, content)


def test_bfloat16_is_written() -> None:
    """In a test of its own, because importing ml_dtypes takes 0.4 s."""
    check_content(np.array([1.0], dtypes.BY_NAME["bfloat16"].numpy), b"\x80?")


def check_content(array: np.ndarray, content: bytes) -> None:
    """Check that `fill_content` writes this `tensor_content`, which reads back as the array."""
    proto = protos.TensorProto()
    fill_content(proto, array)

    assert proto.tensor_content == content
    assert proto.HasField("tensor_shape")
    assert [dim.size for dim in proto.tensor_shape.dim] == list(array.shape)
    np.testing.assert_array_equal(tensors.from_proto(proto), array)
