"""PredictionLog messages of REST and gRPC requests of each kind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tfsctl.core import protos, tensors
from tfsctl.server.grpc import request_log_entry as grpc_entry
from tfsctl.server.monitoring.recorder import Recorder
from tfsctl.server.request_log.request_log import RequestLog, SampledRequest, read_clocks
from tfsctl.server.rest import request_log_entry as rest_entry
from tfsctl.serving_config.request_logging import RequestLogging

FLOAT, STRING, INT64 = 1, 7, 9


@pytest.fixture
def log(tmp_path: Path) -> RequestLog:
    """A log without entries."""
    log = RequestLog("m", RequestLogging(str(tmp_path / "r"), 1.0), Recorder(), max_queued_bytes=1)
    log.close()
    return log


def rest(log: RequestLog, api: str, body: object, response: object) -> protos.PredictionLog:
    """The entry of a REST request to a model with two inputs and two outputs, or with one of each."""
    definitions = {"serving_default": protos.SignatureDef(), "one": protos.SignatureDef()}
    for name, kinds in (("serving_default", {"a": FLOAT, "s": STRING}), ("one", {"n": INT64})):
        for alias, dtype in kinds.items():
            definitions[name].inputs[alias].dtype = dtype
            definitions[name].outputs[f"{alias}_bytes" if dtype == STRING else alias].dtype = dtype
    entry = SampledRequest(
        log, rest_entry.prediction_log, api, "rest", "m", 4, definitions, json.dumps(body).encode(), *read_clocks()
    )
    entry.response = json.dumps(response).encode()
    return rest_entry.prediction_log(entry)


def test_rest_predict_requests_become_predict_logs(log: RequestLog) -> None:
    """Rows and columns, with one output or several, binary strings and NaN."""
    rows = rest(
        log,
        "Predict",
        {"instances": [{"a": 1.5, "s": "x"}, {"a": 2, "s": {"b64": "/w=="}}]},
        {"predictions": [{"a": 1, "s_bytes": {"b64": "/w=="}}, {"a": float("nan"), "s_bytes": {"b64": "eA=="}}]},
    ).predict_log
    assert tensors.from_proto(rows.request.inputs["a"]).tolist() == [1.5, 2]
    assert tensors.from_proto(rows.request.inputs["s"]).tolist() == [b"x", b"\xff"]
    assert tensors.from_proto(rows.response.outputs["s_bytes"]).tolist() == [b"\xff", b"x"]
    assert str(tensors.from_proto(rows.response.outputs["a"]).tolist()) == "[1.0, nan]"
    assert (rows.response.model_spec.version.value, rows.request.model_spec.name) == (4, "m")

    columns = rest(log, "Predict", {"signature_name": "one", "inputs": [[1, 2]]}, {"outputs": [[3, 4]]})
    assert columns.log_metadata.model_spec.signature_name == "one"
    assert tensors.from_proto(columns.predict_log.request.inputs["n"]).tolist() == [[1, 2]]
    assert tensors.from_proto(columns.predict_log.response.outputs["n"]).tolist() == [[3, 4]]


def test_rest_classify_and_regress_requests_become_their_logs(log: RequestLog) -> None:
    """The examples, with their context, and the results."""
    body = {"signature_name": "c", "context": {"user": "ann"}, "examples": [{"x": 1.0}, {"x": 2.0}]}
    classified = rest(log, "Classify", body, {"results": [[["cat", 0.5], ["dog", 0.25]], [["cat", 1.0]]]}).classify_log
    listed = classified.request.input.example_list_with_context
    assert listed.context.features.feature["user"].bytes_list.value[:] == [b"ann"]
    assert [example.features.feature["x"].float_list.value[0] for example in listed.examples] == [1, 2]
    first, second = classified.response.result.classifications
    assert [(one.label, one.score) for one in first.classes] == [("cat", 0.5), ("dog", 0.25)]
    assert len(second.classes) == 1
    regressed = rest(log, "Regress", {"examples": [{"x": 1.0}]}, {"results": [0.5]}).regress_log
    assert [one.value for one in regressed.response.result.regressions] == [0.5]
    assert regressed.request.model_spec.signature_name == "serving_default"


def test_grpc_multi_inference_requests_become_their_logs(log: RequestLog) -> None:
    """The metadata has the signature of the first task."""
    request = protos.MultiInferenceRequest()
    for name in ("first", "second"):
        request.tasks.add().model_spec.signature_name = name
    request.input.example_list.examples.add()
    response = protos.MultiInferenceResponse()
    response.results.add().regression_result.regressions.add(value=1)
    body = request.SerializeToString()
    entry = SampledRequest(log, grpc_entry.prediction_log, "MultiInference", "grpc", "m", 1, None, body, *read_clocks())
    entry.response = response.SerializeToString()

    found = grpc_entry.prediction_log(entry)

    assert found.multi_inference_log.request == request
    assert found.multi_inference_log.response == response
    assert found.log_metadata.model_spec.signature_name == "first"
