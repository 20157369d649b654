"""The request log of a running server: which requests it holds, and when it begins and ends."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_requests import raw_call
from model_servers import Served, running_server
from rest_requests import rest
from scale_models import write_scale_model
from waiting import eventually, wait_for

from tfsctl.core import protos, tensors
from tfsctl.core.tfrecord import read_records
from tfsctl.serving_config.model_config import ModelConfig
from tfsctl.serving_config.request_logging import RequestLogging, set_logging

PREDICT = "/tensorflow.serving.PredictionService/Predict"
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"


def target(server: Served) -> str:
    """The address of the gRPC port."""
    return f"{server.host}:{server.grpc_port}"


def reload(channel: grpc.Channel, base: Path, logging: RequestLogging | None) -> None:
    """Serve the model `m` with this logging_config."""
    request = protos.ReloadConfigRequest()
    model = ModelConfig("m", str(base))
    entry = request.config.model_config_list.config.add(
        name="m", base_path=model.base_path, model_platform="tensorflow"
    )
    set_logging(entry, logging)
    raw_call(channel, RELOAD)(request.SerializeToString(), timeout=60)


def predict(channel: grpc.Channel, *values: float) -> None:
    """Ask the model `m` over gRPC."""
    request = protos.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(tensors.to_proto(np.array(values, np.float32)))
    raw_call(channel, PREDICT)(request.SerializeToString(), timeout=60)


def post(server: Served, body: str) -> None:
    """Ask the model `m` over REST."""
    rest(server, "POST", "/v1/models/m:predict", body.encode())


def logs(folder: Path) -> list[protos.PredictionLog]:
    """The records of all files, in order."""
    files = sorted(folder.glob("*.tfrecord"))
    return [protos.PredictionLog.FromString(record) for file in files for record in read_records(file)]


def inputs(folder: Path) -> list[list[float]]:
    """The input of each logged request."""
    return [tensors.from_proto(log.predict_log.request.inputs["x"]).tolist() for log in logs(folder)]


@pytest.mark.server
def test_a_reload_turns_the_log_on_and_off(tmp_path: Path) -> None:
    """REST and gRPC requests are both logged, with their answers."""
    base, folder = tmp_path / "m", tmp_path / "log"
    write_scale_model(base / "1", 2.0)
    with running_server({"m": base}, tmp_path) as server, grpc.insecure_channel(target(server)) as channel:
        predict(channel, 0)
        reload(channel, base, RequestLogging(f"{folder}/r", 1.0, index=True))
        predict(channel, 1)
        predict(channel, 2)
        post(server, '{"instances": [3, 4]}')
        post(server, '{"inputs": {"x": [5]}}')
        post(server, '{"instances": ["text"]}')
        reload(channel, base, None)
        predict(channel, 6)
        eventually(lambda: "Ended the request log of model m: 5 written" in log_of(tmp_path), True)
        reload(channel, base, RequestLogging(f"{folder}/r", 0.0))
        predict(channel, 7)

    assert inputs(folder) == [[1], [2], [3, 4], [5]]
    first = logs(folder)[0]
    assert tensors.from_proto(first.predict_log.response.outputs["y"]).tolist() == [2]
    assert first.log_metadata.model_spec.version.value == 1
    assert first.log_metadata.sampling_config.sampling_rate == 1
    assert first.log_metadata.timestamp_secs > 0
    third = logs(folder)[2]
    assert tensors.from_proto(third.predict_log.response.outputs["y"]).tolist() == [6, 8]
    (index,) = folder.glob("*.jsonl")
    lines = [json.loads(line) for line in index.read_text().splitlines()]
    assert [(line["protocol"], line["code"]) for line in lines] == [
        *[("grpc", "OK")] * 2,
        *[("rest", "OK")] * 2,
        ("rest", "INVALID_ARGUMENT"),
    ]


def log_of(folder: Path) -> str:
    """The text of the server's log."""
    return (folder / "server.log").read_text()


def record_and_kill(base: Path, folder: Path, workspace: Path) -> None:
    """Log 20 requests, and kill the server."""
    with running_server({"m": base}, workspace) as server:
        with grpc.insecure_channel(target(server)) as channel:
            reload(channel, base, RequestLogging(f"{folder}/r", 1.0))
            for number in range(20):
                predict(channel, number)
            wait_for(lambda: len(inputs(folder)) == 20)
        os.kill(server.pid, signal.SIGKILL)


@pytest.mark.server
def test_killed_servers_leave_readable_files(tmp_path: Path) -> None:
    """Up to the last whole record."""
    base, folder = tmp_path / "m", tmp_path / "log"
    write_scale_model(base / "1", 2.0)
    with pytest.raises(AssertionError):  # the server must end cleanly, and does not
        record_and_kill(base, folder, tmp_path)

    assert inputs(folder) == [[number] for number in range(20)]


@pytest.mark.server
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """And the configuration stays as it was."""
    base = tmp_path / "m"
    write_scale_model(base / "1", 2.0)
    (tmp_path / "file").write_text("")
    with (
        running_server({"m": base}, tmp_path) as server,
        grpc.insecure_channel(target(server)) as channel,
    ):
        with pytest.raises(grpc.RpcError, match="The request log of model m cannot be written"):
            reload(channel, base, RequestLogging(f"{tmp_path}/file/r", 1.0))
        predict(channel, 1)
