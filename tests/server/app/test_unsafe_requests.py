"""Requests on which TensorFlow would end the process are refused, and the server goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from graph_models import GraphModel
from grpc_requests import PREDICT
from model_servers import Served, running_server
from rest_requests import post

from tfsctl.core import protos, tensors

pytestmark = pytest.mark.server


def write_convolution(version_dir: Path) -> None:
    """Write a version with a two-dimensional convolution, and one that fills a tensor of any shape."""
    graph = GraphModel()
    graph.input("x", shape=(-1, 2, 2, 1))
    graph.constant("kernel", np.ones((1, 1, 1, 1), np.float32))
    graph.op("Conv2D", "y", "x", "kernel", T="float32", padding="=SAME", strides=[1, 1, 1, 1])
    graph.input("dims", "int64")
    graph.constant("one", np.float32(1))
    graph.op("Fill", "filled", "dims", "one", T="float32", index_type="int64")
    graph.signature({"x": "x"}, {"y": "y"})
    graph.signature({"dims": "dims int64"}, {"y": "filled"}, name="fill")
    shape = graph.meta_graph.signature_def["serving_default"].inputs["x"].tensor_shape
    shape.unknown_rank = False
    for size in (-1, 2, 2, 1):
        shape.dim.add(size=size)
    graph.write(version_dir)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of that model. It must end cleanly."""
    folder = tmp_path_factory.mktemp("convolution")
    write_convolution(folder / "m" / "1")
    with running_server({"m": folder / "m"}, folder) as running:
        yield running


IMAGE = [[[1.0], [2.0]], [[3.0], [4.0]]]


@pytest.mark.parametrize("key", ["instances", "inputs"])
@pytest.mark.parametrize("value", [[1.0], [[1.0, 2.0]], 1.0, [], IMAGE, [[IMAGE]]])
def test_tensors_of_another_rank_over_rest(server: Served, key: str, value: object) -> None:
    """An image model has ranks that it cannot do with."""
    status, answer = post(server, "m:predict", json.dumps({key: value}).encode())
    assert status == 400, answer
    assert post(server, "m:predict", json.dumps({key: [IMAGE]}).encode())[0] == 200


@pytest.mark.parametrize("shape", [(), (2,), (2, 2), (1, 2, 2), (1, 1, 2, 2, 1)])
def test_tensors_of_another_rank_over_grpc(server: Served, shape: tuple[int, ...]) -> None:
    """The error says which input, and what it should be."""
    message = refusal(server, "x", tensors.to_proto(np.ones(shape, np.float32)))
    assert f"input x must be 4-dimensional, as in the signature: its shape is {list(shape)}" in message


@pytest.mark.parametrize("shape", [(0, 2**31 - 1, 2, 1), (2**40, 0, 2**20, 1), (0, 2**20, 2**20, 2**20)])
def test_empty_tensors_of_huge_shapes(server: Served, shape: tuple[int, ...]) -> None:
    """A graph may allocate memory by any of these sizes."""
    tensor = protos.TensorProto(dtype=1)
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)

    assert "input x" in refusal(server, "x", tensor)


def test_requests_without_rows_are_answered(server: Served) -> None:
    """A request without rows is answered."""
    status, answer = post(server, "m:predict", json.dumps({"signature_name": "fill", "inputs": [0, 1000]}).encode())
    assert (status, json.loads(answer)) == (200, {"outputs": []})


def refusal(server: Served, alias: str, tensor: protos.TensorProto) -> str:
    """The message with which the server refuses this tensor as an invalid argument."""
    request = protos.PredictRequest()
    request.model_spec.name = "m"
    request.inputs[alias].CopyFrom(tensor)
    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}") as channel:
        call = channel.unary_unary(PREDICT, protos.PredictRequest.SerializeToString, protos.PredictResponse.FromString)
        with pytest.raises(grpc.RpcError) as caught:
            call(request, timeout=240)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    return str(caught.value.details())


@pytest.mark.long
@pytest.mark.parametrize(
    ("dims", "expected"), [([2**40], 429), ([2**20, 2**20], 429), ([2**40, 2**40], 400), ([-1], 400), ([2, 2], 200)]
)
def test_outputs_that_do_not_fit_into_memory_are_refused(server: Served, dims: list[int], expected: int) -> None:
    """What does not fit into memory is refused."""
    status, answer = post(server, "m:predict", json.dumps({"signature_name": "fill", "inputs": dims}).encode())
    assert status == expected, answer
