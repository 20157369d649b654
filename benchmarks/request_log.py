"""The cost of logging requests: CPU time of the server and latency, with and without the request log.

    python benchmarks/request_log.py [--requests 800] [--rounds 7]

One client with one connection sends small Predict requests over gRPC, then over REST. Each round measures all modes one
after the other: no log, all requests, all requests with answers. Prints one JSON document: by protocol and mode, the
medians over the rounds of `cpu_us` (per request), `p50_us` and `p99_us`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

import grpc
import numpy as np

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from grpc_requests import PREDICT, raw_call
from model_servers import Served, cpu_s, running_flags
from scale_models import write_scale_model

from tfsctl.core import protos, tensors
from tfsctl.serving_config.model_config import ModelConfig, model_config_proto
from tfsctl.serving_config.request_logging import RequestLogging

RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
VALUES = np.full(2, 1.5, np.float32)
WARM_UP_REQUESTS = 300


def main() -> None:
    """Measure, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=800)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scale_model(folder / "m" / "1", 2.0)
        with running_flags(["--model_name=m", f"--model_base_path={folder / 'm'}"], folder) as server:
            found = {
                protocol: _measure(server, folder, send, options.requests, options.rounds)
                for protocol, send in (("grpc", _grpc_client(server)), ("rest", _rest_client(server)))
            }
    print(json.dumps(found))


def _measure(
    server: Served, folder: Path, send: Callable[[], object], requests: int, rounds: int
) -> dict[str, dict[str, float]]:
    prefix = str(folder / "log" / "r")
    modes = {
        "off": None,
        "all": RequestLogging(prefix, 1.0, answers=False, index=True),
        "all with answers": RequestLogging(prefix, 1.0, index=True),
    }
    for _ in range(WARM_UP_REQUESTS):
        send()
    seen: dict[str, list[tuple[float, float, float]]] = {mode: [] for mode in modes}
    for _ in range(rounds):
        for mode, logging in modes.items():
            _reload(server, ModelConfig("m", str(folder / "m"), logging=logging))
            latencies, cpu_before = [], cpu_s(server.pid)
            for _ in range(requests):
                begun = time.perf_counter()
                send()
                latencies.append(1e6 * (time.perf_counter() - begun))
            _reload(server, ModelConfig("m", str(folder / "m")))  # returns when the log is written
            cpu_us = 1e6 * (cpu_s(server.pid) - cpu_before) / requests
            seen[mode].append((cpu_us, median(latencies), quantiles(latencies, n=100)[98]))
    names = ("cpu_us", "p50_us", "p99_us")
    return {
        mode: {name: round(median(values), 1) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
        for mode, rows in seen.items()
    }


def _grpc_client(server: Served) -> Callable[[], object]:
    request = protos.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["x"].CopyFrom(tensors.to_proto(VALUES, as_content=False))
    raw = request.SerializeToString()
    channel = grpc.insecure_channel(f"{server.host}:{server.grpc_port}")
    call = raw_call(channel, PREDICT)
    return lambda: call(raw)


def _rest_client(server: Served) -> Callable[[], object]:
    body = json.dumps({"instances": VALUES.tolist()}).encode()
    connection = http.client.HTTPConnection(server.host, server.rest_port)

    def send() -> bytes:
        connection.request("POST", "/v1/models/m:predict", body)
        return connection.getresponse().read()

    return send


def _reload(server: Served, model: ModelConfig) -> None:
    request = protos.ReloadConfigRequest(config=model_config_proto([model]))
    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}") as channel:
        call = raw_call(channel, RELOAD)
        call(request.SerializeToString(), timeout=60)


if __name__ == "__main__":
    main()
