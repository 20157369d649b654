"""Errors of the embedded server, which are those of TensorFlow Serving, are explained."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from echo_models import write_echo_model
from graph_models import GraphModel, write_rows_model
from model_servers import Served, clean_environment
from ports import HOST, free_ports
from rest_requests import rest
from waiting import PATIENCE_S

from tfsctl.core import protos, tensors
from tfsctl.diagnosis.explanations import explain, explain_all
from tfsctl.serving_config.model_config import ModelConfig, model_config_text

pytestmark = pytest.mark.server

PREDICT = "/v1/models/echo:predict"


@pytest.mark.parametrize(
    ("path", "body", "cause"),
    [
        ("/v1/models/nope:predict", "{}", "no model of that name"),
        ("/v1/models/echo/versions/99:predict", '{"instances": [1]}', "that version is not loaded"),
        ("/v1/models/echo/labels/stable:predict", '{"instances": [1]}', "no version of the model has that label"),
        (PREDICT, '{"signature_name": "nope", "instances": [1]}', "no signature of that name"),
        (PREDICT, '{"instances": [{"b64": "AAAA"}]}', "b64 sends bytes, but the model takes float"),
        (PREDICT, '{"signature_name": "text", "instances": [{"b64": "_-"}]}', "not base64"),
        (PREDICT, '{"instances": ["a"]}', "a JSON String where the model takes float"),
        (PREDICT, '{"signature_name": "row", "instances": [[1, 2, 3], [1, 2]]}', "ragged"),
        (PREDICT, '{"signature_name": "row", "instances": [[1, [2], 3]]}', "ragged"),
        (PREDICT, '{"signature_name": "two", "instances": [1, 2]}', "the model has several inputs"),
        (PREDICT, '{"signature_name": "two", "inputs": [1, 2]}', "the model has several inputs"),
        (PREDICT, '{"signature_name": "two", "instances": [{"area": 1.0}]}', "exactly the inputs of the signature"),
        (PREDICT, '{"signature_name": "two", "inputs": {"area": [1.0]}}', "exactly the inputs of the signature"),
        (PREDICT, '{"signature_name": "float16", "instances": [1.5]}', "REST API does not support that dtype"),
        (PREDICT, '{"signature_name": "scalar", "inputs": "a"}', "a JSON String where the model takes float"),
        (PREDICT, '{"instances": [1', "not JSON"),
        (PREDICT, "{}", "`instances` (a list of rows)"),
        (PREDICT, '{"instances": []}', "`instances` (a list of rows)"),
        ("/v1/models/echo", "{}", "no such path"),
        ("/v2/models/echo", "{}", "not one of TensorFlow Serving"),
        (
            "/v1/models/half_plus_two:predict",
            '{"signature_name": "regress_x_to_y", "instances": ["great"]}',
            "takes serialized tf.Examples",
        ),
        ("/v1/models/echo:classify", "{}", "take `examples`"),
        ("/v1/models/echo:regress", '{"examples": [{"x": 1.0}]}', "does not support the method"),
    ],
)
def test_a_refusal_over_rest(served: Served, path: str, body: str, cause: str) -> None:
    """Each error has the message of the server."""
    status, answer, _ = rest(served, "POST", path, body.encode())
    assert status >= 400
    found = explain(answer.decode())
    assert found is not None, answer
    assert cause in found.cause


def request(signature: str = "", outputs: tuple[str, ...] = (), **inputs: Any) -> Any:
    """A predict request to echo."""
    made = protos.PredictRequest(output_filter=outputs)
    made.model_spec.name, made.model_spec.signature_name = "echo", signature
    for name, value in inputs.items():
        made.inputs[name].CopyFrom(tensors.to_proto(np.asarray(value)))
    return made


F32 = np.array([1.0], np.float32)


@pytest.mark.parametrize(
    ("signature", "outputs", "inputs", "cause"),
    [
        ("nope", (), {"x": F32}, "no signature of that name"),
        ("", (), {"y": F32}, "lacks the input x"),
        ("two", (), {"area": F32}, "missing: city"),
        ("", ("z",), {"x": F32}, "no output z; its outputs are x"),
        ("", ("x", "x"), {"x": F32}, "names x twice"),
        ("", (), {"x": np.array([1], np.int64)}, "sent as int64, but the model takes float"),
        ("", (), {"x": np.zeros(1_200_000, np.float32)}, "4 MB by default in gRPC"),
    ],
)
def test_a_refusal_over_grpc(
    served: Served, signature: str, outputs: tuple[str, ...], inputs: Mapping[str, Any], cause: str
) -> None:
    """The request is sent through a channel of grpcio."""
    with grpc.insecure_channel(f"{HOST}:{served.grpc_port}") as channel:
        call = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            protos.PredictRequest.SerializeToString,
            protos.PredictResponse.FromString,
        )
        with pytest.raises(grpc.RpcError) as refused:
            call(request(signature, outputs, **inputs), timeout=240)
    found = explain(refused.value.details() or "")
    assert found is not None, refused.value.details()
    assert cause in found.cause


def test_a_label_moved_too_early(served: Served) -> None:
    """Promoting a version before it is loaded."""
    config = model_config_text([ModelConfig(name, str(base)) for name, base in served.models.items()])
    reload = protos.ReloadConfigRequest()
    from google.protobuf import text_format

    text_format.Parse(config, reload.config)
    entry = next(one for one in reload.config.model_config_list.config if one.name == "echo")
    entry.version_labels["canary"] = 99
    with grpc.insecure_channel(f"{HOST}:{served.grpc_port}") as channel:
        call = channel.unary_unary(
            "/tensorflow.serving.ModelService/HandleReloadConfigRequest",
            protos.ReloadConfigRequest.SerializeToString,
            protos.ReloadConfigResponse.FromString,
        )
        with pytest.raises(grpc.RpcError) as refused:
            call(reload, timeout=240)
    found = explain(refused.value.details() or "")
    assert found is not None, refused.value.details()
    assert found.cause.startswith("labels are checked before new versions are loaded")
    assert "tfsctl wait echo@99" in found.hint


def log_of(folder: Path, *flags: str, until: tuple[str, ...] = ()) -> str:
    """The log of a server with these flags, until it ends or all of the texts are in it."""
    port, rest_port = free_ports(2)
    log = folder / "log"
    argv = [sys.executable, "-m", "tfsctl.server", f"--host={HOST}", f"--port={port}", f"--rest_api_port={rest_port}"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*argv, *flags], env=clean_environment(folder), stdout=output, stderr=subprocess.STDOUT
        )
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < deadline:
        if until and all(words in log.read_text() for words in until):
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=240)
        time.sleep(0.05)
    assert process.poll() is not None, log.read_text()
    return log.read_text()


def configured(folder: Path, *models: str) -> str:
    """The flag with a config file of these models, each in a directory of its name."""
    (folder / "config").write_text(model_config_text([ModelConfig(name, str(folder / name)) for name in models]))
    return f"--model_config_file={folder / 'config'}"


def test_the_log_of_a_server_that_finds_nothing(tmp_path: Path) -> None:
    """A directory that is not there, and one without a version, are each explained; so is an unknown flag."""
    (tmp_path / "empty").mkdir()
    words = ("Could not find base path", "No versions of servable")
    log = log_of(tmp_path, configured(tmp_path, "gone", "empty"), "--nope=1", until=words)
    causes = " ".join(found.cause for found in explain_all(log))
    assert f"the server cannot see the directory {tmp_path / 'gone'}" in causes
    assert f"{tmp_path / 'empty'} has no numbered version directory" in causes
    assert "the server does not know the flag --nope=1" in causes


def test_the_log_of_a_server_that_cannot_load(tmp_path: Path) -> None:
    """Half a file, an unknown operation, an invalid warmup file: what the log says of each is explained."""
    write_echo_model(tmp_path / "half" / "1")
    file = tmp_path / "half" / "1" / "saved_model.pb"
    file.write_bytes(file.read_bytes()[:-7])
    graph = GraphModel()
    graph.input("x")
    graph.op("SentencepieceOp", "y", "x")
    graph.signature({"x": "x"}, {"y": "y"})
    graph.write(tmp_path / "foreign" / "1")
    write_rows_model(tmp_path / "warm" / "1")
    (tmp_path / "warm" / "1" / "assets.extra").mkdir()
    (tmp_path / "warm" / "1" / "assets.extra" / "tf_serving_warmup_requests").write_bytes(
        b"no TFRecord at all, but long"
    )
    log = log_of(tmp_path, configured(tmp_path, "half", "foreign", "warm"), "--max_num_load_retries=0")
    last_line = log.splitlines()[-1]
    assert last_line.startswith("Failed to start server. Error: "), log
    for text in (log, last_line):  # the last line names all three
        causes = " ".join(found.cause for found in explain_all(text))
        assert "the operation SentencepieceOp" in causes, text
        assert "the version is incomplete" in causes, text
        assert "tf_serving_warmup_requests is not a TFRecord file" in causes, text
