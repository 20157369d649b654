"""Default values of a signature's inputs, which a Predict call may leave out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from graph_models import GraphModel
from grpc_requests import predict
from model_servers import Served, running_server
from raw_grpc import call, framed

from tfsctl.core import protos, tensors

pytestmark = pytest.mark.server

INVALID_ARGUMENT = 3
NOT_VALID = protos.TensorProto(dtype=1, tensor_shape={"dim": [{"size": -1}]}, float_val=[1.0])
DEFAULTS: Mapping[str, Mapping[str, protos.TensorProto]] = {
    "serving_default": {"b": tensors.to_proto(np.array([10.0], np.float32))},
    "all": {alias: tensors.to_proto(np.array([value], np.float32)) for alias, value in (("a", 1.0), ("b", 2.0))},
    "bad": {"b": NOT_VALID},
    "unused": {"c": NOT_VALID},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of a model that adds `a` and `b`, with a signature for each of the defaults."""
    folder = tmp_path_factory.mktemp("defaults")
    graph = GraphModel()
    graph.input("a")
    graph.input("b")
    graph.op("AddV2", "sum", "a", "b", T="float32")
    for name, defaults in DEFAULTS.items():
        graph.signature({"a": "a", "b": "b"}, {"y": "sum"}, name=name)
        for alias, value in defaults.items():
            graph.meta_graph.signature_def[name].defaults[alias].CopyFrom(value)
    graph.write(folder / "m" / "1")
    with running_server({"m": folder / "m"}, folder) as running:
        yield running


def answer(server: Served, signature: str, **inputs: list[float]) -> list[float] | str:
    """The sum, or the message of the error, which is INVALID_ARGUMENT."""
    outcome = call(server.grpc_port, framed(predict("m", signature, **inputs)[1].SerializeToString()))
    if outcome.result == INVALID_ARGUMENT:
        return outcome.message
    assert outcome.result == 0
    response = protos.PredictResponse.FromString(outcome.body[5:])
    return list(response.outputs["y"].float_val)


def test_inputs_that_are_left_out_have_their_defaults(server: Served) -> None:
    """What was sent takes precedence."""
    assert answer(server, "serving_default", a=[1.0, 2.0]) == [11.0, 12.0]
    assert answer(server, "serving_default", a=[1.0], b=[2.0]) == [3.0]
    assert answer(server, "all") == [3.0]
    assert answer(server, "all", b=[5.0]) == [6.0]
    assert answer(server, "bad", a=[1.0], b=[2.0]) == [3.0]


def test_requests_that_the_defaults_do_not_complete_are_refused(server: Served) -> None:
    """In the words of saved_model::GetInputValues and predict_util.cc."""
    missing = "not found in request and no default value provided. Inputs expected to be in the request"
    assert answer(server, "serving_default", b=[1.0]) == (
        f"Signature input alias: a(feed name: a:0) {missing} {{b}}, or default input alias set: b"
    )
    assert answer(server, "serving_default", a=[1.0], c=[1.0]) == (
        "Inputs contains invalid name. Used request inputs: a, request input: a,c"
    )
    assert str(answer(server, "serving_default", a=[1.0], b=[1.0], c=[1.0])).startswith("input size does not match")
    assert answer(server, "bad", a=[1.0]) == "tensor parsing error: b"
    assert str(answer(server, "unused", a=[1.0])).endswith("or default input alias set: c")
