"""Warmup: recorded requests run before a version becomes available, and an invalid one fails the load."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gates import Gate, closed_gate
from graph_models import CLASSIFY, REGRESS, GraphModel, write_rows_model
from grpc_requests import calling, predict
from model_servers import Served, running_flags, running_server
from tfrecords import framed, write_records
from waiting import eventually, wait_for

from tfsctl.core import protos, tensors
from tfsctl.core.version_files.warmup_requests import WARMUP_FILE

pytestmark = pytest.mark.server


def log_of(kind: str, request: Any) -> bytes:
    """A PredictionLog of one request."""
    entry = protos.PredictionLog()
    getattr(entry, kind).request.CopyFrom(request)
    serialized: bytes = entry.SerializeToString()
    return serialized


def predict_log(signature: str = "", **inputs: Any) -> bytes:
    """A log of a predict."""
    return log_of("predict_log", predict("any name", signature, **inputs)[1])


def examples_log(kind: str, message: str, signature: str, count: int = 1) -> bytes:
    """A log of a classification or regression."""
    request = getattr(protos, message)()
    request.model_spec.signature_name = signature
    for _ in range(count):
        request.input.example_list.examples.add()
    return log_of(kind, request)


def multi_inference_log(*tasks: tuple[str, str, str]) -> bytes:
    """A log of a MultiInference with these (model, signature, method) tasks."""
    request = protos.MultiInferenceRequest()
    request.input.example_list.examples.add()
    for model, signature, method in tasks:
        task = request.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = model, signature
    return log_of("multi_inference_log", request)


def unparsed_tensor() -> bytes:
    """A log of a predict with an inconsistent tensor."""
    request = protos.PredictRequest()
    request.inputs["x"].CopyFrom(tensors.to_proto(np.zeros(2, np.float32)))
    request.inputs["x"].tensor_content = b"123"
    return log_of("predict_log", request)


def session_run_log() -> bytes:
    """A log of a call that the server does not have."""
    entry = protos.PredictionLog()
    entry.session_run_log.SetInParent()
    serialized: bytes = entry.SerializeToString()
    return serialized


GOOD = [
    predict_log(x=[1, 2]),
    predict_log("checked", x=[1]),
    examples_log("regress_log", "RegressionRequest", "text"),
    examples_log("classify_log", "ClassificationRequest", "kinds"),
    multi_inference_log(("m", "text", REGRESS), ("m", "kinds", CLASSIFY)),
    protos.PredictionLog().SerializeToString(),
]
PREDICT = predict_log(x=[1])
# Model -> its warmup file, the code and (the start of) what becomes of its load.
BAD: dict[str, tuple[bytes, str, str]] = {
    "no_record": (b"this is text, and no TFRecord file at all", "DATA_LOSS", "corrupted record at 0 (Is this even a"),
    "damaged": (framed(PREDICT)[:-1] + b"\0", "DATA_LOSS", "corrupted record at 12. Please verify your warmup data is"),
    "cut": (framed(PREDICT)[:-9], "DATA_LOSS", "truncated record at 0' failed with Read less bytes than requested. "),
    "no_log": (framed(b"garbage"), "INVALID_ARGUMENT", "Failed to parse warmup record: garbage from {path}"),
    "session_run": (framed(session_run_log()), "UNIMPLEMENTED", "Unsupported log_type for warmup: 5"),
    "signature": (
        framed(predict_log("nope", x=[1])),
        "FAILED_PRECONDITION",
        'Serving signature key "nope" not found.',
    ),
    "input": (
        framed(predict_log(x=[1], z=[1])),
        "INVALID_ARGUMENT",
        "input size does not match signature: 2!=1 len({x,z}) != len({x}). Sent extra: {z}. Missing but required: {}.",
    ),
    "tensor": (framed(unparsed_tensor()), "INVALID_ARGUMENT", "tensor parsing error: x"),
    "graph": (framed(predict_log("checked", x=[0])), "INVALID_ARGUMENT", "not a number to divide by"),
    "examples": (
        framed(examples_log("regress_log", "RegressionRequest", "text", count=0)),
        "INVALID_ARGUMENT",
        "Input is empty.",
    ),
    "method": (
        framed(multi_inference_log(("m", "text", "tensorflow/serving/predict"))),
        "UNIMPLEMENTED",
        "Unsupported signature method_name: tensorflow/serving/predict",
    ),
    "too_many": (
        framed(PREDICT) * 1001,
        "INVALID_ARGUMENT",
        "Number of warmup records exceeds the maximum (1000) at {path}",
    ),
}


def publish(base: Path, version: int, warmup: bytes, *, gate: Gate | None = None) -> Path:
    """Add a version with a warmup file, with one rename. Returns the file."""
    draft = base.parent / f"{base.name}-draft"
    write_rows_model(draft, gate=gate)
    (draft / WARMUP_FILE).parent.mkdir()
    (draft / WARMUP_FILE).write_bytes(warmup)
    base.mkdir(exist_ok=True)
    draft.rename(base / str(version))
    return base / str(version) / WARMUP_FILE


def status(server: Served, model: str, version: int) -> dict[str, Any]:
    """The status of a version; empty before the server knows it."""
    url = f"http://{server.host}:{server.rest_port}/v1/models/{model}"
    with urllib.request.urlopen(url, timeout=240) as response:
        versions = json.load(response)["model_version_status"]
    return next((v for v in versions if v["version"] == str(version)), {"state": ""})


def settled(server: Served, model: str, version: int) -> dict[str, Any]:
    """The status of a version once it is loaded or has failed."""
    wait_for(lambda: status(server, model, version)["state"] in ("AVAILABLE", "END"))
    return status(server, model, version)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of models without warmup, that tries each load once."""
    folder = tmp_path_factory.mktemp("warmup")
    for name in ("good", "large", "beside", *BAD):
        write_rows_model(folder / name / "1")
    models = {path.name: path for path in sorted(folder.iterdir())}
    with running_server(models, folder, flags=["--max_num_load_retries=0"]) as running:
        yield running


def log_lines(server: Served, about: Path) -> list[str]:
    """The lines of the server's log about a file, without their time."""
    lines = (next(iter(server.models.values())).parent / "server.log").read_text().splitlines()
    return [line.split(" ", 2)[2] for line in lines if str(about) in line]


def test_requests_of_every_kind_are_run(server: Served) -> None:
    """Whatever model they name; an empty log entry is skipped. The log lines are the real server's."""
    path = publish(server.models["good"], 2, b"".join(map(framed, GOOD)))

    assert settled(server, "good", 2)["state"] == "AVAILABLE"
    eventually(lambda: len(log_lines(server, path)), 2)
    begun, done = log_lines(server, path)
    assert begun == (
        f"I Starting to read warmup data for model at {path} with model-warmup-options "
        "num_request_iterations { value: 1 }"
    )
    assert done.startswith(
        f"I Finished reading warmup data for model at {path}. Number of warmup records read: 6. Elapsed time "
        "(microseconds): "
    )


def test_a_version_without_warmup_requests_is_logged(server: Served) -> None:
    """And becomes available."""
    path = server.models["good"] / "1" / WARMUP_FILE

    eventually(lambda: log_lines(server, path), [f"I No warmup data file found at {path}"])


def test_too_many_warmup_records_fail_the_load(server: Served) -> None:
    """Exactly the limit is accepted."""
    publish(server.models["large"], 2, framed(PREDICT) * 1000)

    assert settled(server, "large", 2)["state"] == "AVAILABLE"


@pytest.mark.parametrize("model", BAD)
def test_invalid_warmup_requests_fail_the_load(server: Served, model: str) -> None:
    """In the real server's words, which name the file; the served version stays served."""
    content, code, message = BAD[model]
    path = publish(server.models[model], 2, content)

    seen = settled(server, model, 2)

    assert seen["state"] == "END"
    assert seen["status"]["error_code"] == code
    assert message.replace("{path}", str(path)) in seen["status"]["error_message"]
    assert status(server, model, 1)["state"] == "AVAILABLE"
    with calling(server) as ask:
        assert ask(predict(model, x=[3]))["y"] == [3]


def test_other_models_are_served_during_a_warmup(server: Served, tmp_path: Path) -> None:
    """A slow warmup delays no request to another model, and its own version becomes available after it."""
    with closed_gate(tmp_path / "gate") as gate, calling(server) as ask:
        publish(server.models["beside"], 2, framed(predict_log("gated", x=[1])), gate=gate)
        gate.wait_for_run()
        assert [ask(predict("good", x=[1]))["y"] for _ in range(50)] == [[1]] * 50
        assert status(server, "beside", 2)["state"] == "LOADING"
        gate.open()
        assert settled(server, "beside", 2)["state"] == "AVAILABLE"


def test_warmup_requests_are_repeated(tmp_path: Path) -> None:
    """`--num_request_iterations_for_warmup=3`: the model prints a line for each run."""
    graph = GraphModel()
    graph.input("x")
    graph.constant("line", np.array("a warmup run", object))
    graph.op("PrintV2", "print", "line", output_stream="=stderr", end="=\n")
    graph.op("Identity", "y", "x", "^print", T="float32")
    graph.signature({"x": "x"}, {"y": "y"})
    graph.write(tmp_path / "m" / "1")
    write_records(tmp_path / "m" / "1" / WARMUP_FILE, [predict_log(x=[1])] * 2)
    flags = ["--model_name=m", f"--model_base_path={tmp_path / 'm'}", "--num_request_iterations_for_warmup=3"]
    with running_flags(flags, tmp_path):
        printed = (tmp_path / "server.log").read_text()  # TensorFlow and the log both write to it

    assert printed.count("a warmup run") == 6


def test_warmup_can_be_switched_off(tmp_path: Path) -> None:
    """With `--enable_model_warmup=false`, an invalid file has no effect."""
    publish(tmp_path / "m", 1, b"no record at all")
    flags = ["--model_name=m", f"--model_base_path={tmp_path / 'm'}", "--enable_model_warmup=false"]
    with running_flags(flags, tmp_path) as server:
        assert status(server, "m", 1)["state"] == "AVAILABLE"


def test_warmup_requests_are_batched(tmp_path: Path) -> None:
    """They do not wait for others; a request that a batched model would refuse fails the warmup too."""
    parameters = tmp_path / "batching.config"
    parameters.write_text("max_batch_size { value: 4 } batch_timeout_micros { value: 60000000 }")
    publish(tmp_path / "m", 1, framed(predict_log(x=[1])) * 3)
    flags = ["--enable_batching", f"--batching_parameters_file={parameters}", "--max_num_load_retries=0"]
    with running_server({"m": tmp_path / "m"}, tmp_path, flags=flags) as server:
        publish(tmp_path / "m", 2, framed(predict_log(x=[1] * 5)))
        seen = settled(server, "m", 2)

    assert seen["state"] == "END"
    assert seen["status"]["error_message"] == "Task size 5 is larger than maximum input batch size 4"
