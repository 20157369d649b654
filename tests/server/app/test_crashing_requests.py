"""Requests on which TensorFlow would end the process get an error, and the server goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crashing_models import ANSWERED, CRASHES, write_crashing_model
from gates import closed_gate
from graph_models import write_rows_model
from grpc_requests import answer, calling, predict
from model_servers import Served, running_server
from rest_requests import post, rest
from waiting import wait_for

from tfsctl.server.execution.crashed_runs import MAX_CRASHES

pytestmark = pytest.mark.server

RUNS_UNTIL_QUICK = 40
"""After these, a quick model may run on the event loop."""


@pytest.fixture
def server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Served]:
    """A server of two models with all signatures. It must end cleanly at SIGTERM, whatever has crashed."""
    models = {name: tmp_path / name for name in ("m", "other")}
    for folder in models.values():
        write_crashing_model(folder / "1")
    metrics = tmp_path / "monitoring.config"
    metrics.write_text('prometheus_config { enable: true path: "/metrics" }')
    flags = [f"--monitoring_config_file={metrics}", *getattr(request, "param", [])]
    with running_server(models, tmp_path, flags=flags) as running:
        yield running


def predict_over_rest(server: Served, signature: str, inputs: dict[str, Any], model: str = "m") -> tuple[int, str]:
    """The status of a request, and its outputs or error."""
    body = {"signature_name": signature, "inputs": {name: value.tolist() for name, value in inputs.items()}}
    status, text = post(server, f"{model}:predict", json.dumps(body).encode())
    return status, str(json.loads(text).get("error", ""))


def assert_serves(server: Served, *signatures: str) -> None:
    """These signatures of m, and all of the other model, are answered."""
    for signature in signatures:
        assert predict_over_rest(server, signature, ANSWERED[signature]) == (200, "")
    for signature, inputs in ANSWERED.items():
        assert predict_over_rest(server, signature, inputs, "other") == (200, "")


def test_each_crash_over_rest(server: Served) -> None:
    """The error names the signature."""
    for signature, inputs in CRASHES.items():
        status, error = predict_over_rest(server, signature, inputs)
        assert status == 500
        assert "crashed in TensorFlow" in error
        assert f'signature "{signature}" of model m, version 1' in error
    assert_serves(server, *(ANSWERED.keys() - {"pool"}))


def test_each_crash_over_grpc(server: Served) -> None:
    """The code is INTERNAL."""
    with calling(server) as call:
        for signature, inputs in CRASHES.items():
            failed = call(predict("m", signature, **inputs))
            assert failed.code == "INTERNAL"
            assert "crashed in TensorFlow" in failed.details
    assert_serves(server, *(ANSWERED.keys() - {"pool"}))


@pytest.mark.parametrize("server", [["--enable_batching"]], indirect=True)
def test_crashes_with_batching(server: Served) -> None:
    """TensorFlow Serving's batching has threads of its own. It takes only requests with as many rows in each input."""
    for signature, crashes in (("pool", 1), ("convolution", MAX_CRASHES)):  # one division by zero is enough
        statuses = [predict_over_rest(server, signature, CRASHES[signature])[0] for _ in range(MAX_CRASHES + 1)]
        assert statuses == [500] * crashes + [503] * (len(statuses) - crashes)
        assert predict_over_rest(server, signature, ANSWERED[signature], "other") == (200, "")


def test_a_signature_that_crashes_again_and_again_is_refused(server: Served) -> None:
    """The other signatures and models are answered. A version that is loaded anew starts from zero."""
    statuses = [predict_over_rest(server, "fourier", CRASHES["fourier"])[0] for _ in range(10)]

    assert statuses == [500] * MAX_CRASHES + [503] * (10 - MAX_CRASHES)
    status, error = predict_over_rest(server, "fourier", ANSWERED["fourier"])
    assert (status, error.partition(":")[0]) == (503, "Refused, because earlier runs crashed in TensorFlow")
    assert_serves(server, "array", "pool", "convolution")
    page = rest(server, "GET", "/metrics")[1].decode()
    assert f':tfsctl:server:crashed_runs{{model_name="m"}} {MAX_CRASHES}' in page

    shutil.copytree(server.models["m"] / "1", server.models["m"] / "2")
    wait_for(lambda: predict_over_rest(server, "fourier", ANSWERED["fourier"])[0] == 200)


def test_many_crashes_at_once(server: Served) -> None:
    """Requests of one signature that wait meanwhile are refused, those of other signatures are answered."""
    aborting = CRASHES.keys() - {"pool"}
    requests = [(signature, CRASHES[signature]) for signature in aborting for _ in range(6)]
    with ThreadPoolExecutor(len(requests)) as clients:
        statuses = list(clients.map(lambda request: predict_over_rest(server, *request)[0], requests))

    assert set(statuses) <= {500, 503}
    assert predict_over_rest(server, "serving_default", {"x": ANSWERED["fourier"]["signal"]}) == (200, "")
    assert_serves(server)


LARGE = {"signal": np.ones(2**17, np.float32), "length": np.zeros(1, np.int32)}
"""A request that runs in TensorFlow's threads, because it is large, and crashes there."""


def test_crashes_in_threads_of_tensorflow(server: Served) -> None:
    """Two runs that crash at the same time cannot be told apart, but both crashed."""
    enough = LARGE | {"length": np.full(1, 8, np.int32)}
    with calling(server) as call:
        for model in ("m", "other"):
            answers = call.together([predict(model, "fourier", **LARGE)] * 2)
            assert {failed.code for failed in answers} == {"INTERNAL"}
            assert call(predict(model, "fourier", **enough)).code == "OK"
    assert_serves(server, *ANSWERED)


def test_crashes_in_all_threads_of_tensorflow(server: Served) -> None:
    """More runs than the first pool has threads: those that wait for a thread there have crashed, too."""
    enough = LARGE | {"length": np.full(1, 8, np.int32)}
    with calling(server) as call:
        answers = call.together([predict(model, "fourier", **LARGE) for model in ("m", "other") for _ in range(2)])
        assert {failed.code for failed in answers} == {"INTERNAL"}
        for model in ("m", "other"):
            assert call(predict(model, "fourier", **enough)).code == "OK"
    assert_serves(server, *ANSWERED)


def test_a_crash_in_a_thread_of_tensorflow_beside_other_runs(tmp_path: Path) -> None:
    """The run that crashed is the one that does not end."""
    with closed_gate(tmp_path) as gate:
        write_crashing_model(tmp_path / "m" / "1")
        write_rows_model(tmp_path / "rows" / "1", gate=gate)
        with (
            running_server({"m": tmp_path / "m", "rows": tmp_path / "rows"}, tmp_path) as server,
            calling(server) as call,
        ):
            other = call.start(predict("rows", "gated", x=[1.0]))
            gate.wait_for_run()
            crashing = call.start(predict("m", "fourier", **LARGE))
            wait_for(lambda: "axis length mismatch" in (tmp_path / "server.log").read_text())
            assert call(predict("m", x=[2.0]))["y"] == [2.0]
            gate.open()
            assert answer(other)["y"] == [1.0]
            assert answer(crashing).code == "INTERNAL"


def test_a_shape_that_crashes_after_quick_runs_of_nearly_the_same(server: Served) -> None:
    """Such a signature never runs on the event loop, however quick it was."""
    with calling(server) as call:
        for _ in range(RUNS_UNTIL_QUICK):
            assert call(predict("m", "pool", volume=np.ones((2, 3, 3, 3, 2), np.float32))).code == "OK"
        assert call(predict("m", "pool", volume=np.ones((3, 2, 2, 2, 3), np.float32))).code == "INTERNAL"
    assert_serves(server)
