"""Measures whether a slow model delays others: a model of 50 ms per run is under full load while others are asked.

    python benchmarks/isolation.py [--seconds 10] [--clients 8]

Prints, without and with the load, the median and 99th percentile latency in milliseconds of a quick model over REST and
gRPC, and of the status endpoint. The exit status is 1 if the load adds more than 10 ms to a 99th percentile.
The machine's cores are shared with the slow model's runs, which use all of TensorFlow's threads.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import grpc
import httpx

from tfsctl.core import protos

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from grpc_requests import PREDICT
from model_servers import Served, running_server
from scale_models import write_scale_model

SLOW_RUN_MS, LIMIT_MS = 50.0, 10.0
START_SIZE = 600  # of the matrices that the slow model multiplies


def ask_rest(client: httpx.Client, model: str) -> None:
    """One REST predict."""
    client.post(f"/v1/models/{model}:predict", content=b'{"instances": [1.0]}').raise_for_status()


def times_ms(ask: Callable[[], object], seconds: float) -> list[float]:
    """How long each of many calls takes, one after another."""
    end_s, taken = time.perf_counter() + seconds, []
    while (start_s := time.perf_counter()) < end_s:
        ask()
        taken.append((time.perf_counter() - start_s) * 1e3)
    return taken


def p99(values: list[float]) -> float:
    """The 99th percentile."""
    return statistics.quantiles(values, n=100)[98]


def slow_size(folder: Path) -> int:
    """The size of matrices that make a run take about 50 ms on this machine."""
    write_scale_model(folder / "probe" / "1", 1.0, matmul_size=START_SIZE)
    with running_server({"probe": folder / "probe"}, folder) as server, rest(server) as client:
        median_ms = statistics.median(times_ms(lambda: ask_rest(client, "probe"), 3.0))
    return int(START_SIZE * (SLOW_RUN_MS / median_ms) ** (1 / 3))


def rest(server: Served) -> httpx.Client:
    """A client of the REST port."""
    return httpx.Client(base_url=f"http://{server.host}:{server.rest_port}", timeout=60)


def measured(server: Served, seconds: float) -> dict[str, list[float]]:
    """What the quick model and the status endpoint take, in milliseconds."""
    request = protos.PredictRequest(model_spec={"name": "quick"})
    request.inputs["x"].dtype = 1
    request.inputs["x"].tensor_shape.dim.add(size=1)
    request.inputs["x"].float_val.append(1.0)
    with rest(server) as client, grpc.insecure_channel(f"{server.host}:{server.grpc_port}") as channel:
        call = channel.unary_unary(
            PREDICT,
            request_serializer=protos.PredictRequest.SerializeToString,
            response_deserializer=protos.PredictResponse.FromString,
        )
        asks: dict[str, Callable[[], object]] = {
            "quick model, REST": lambda: ask_rest(client, "quick"),
            "quick model, gRPC": lambda: call(request),
            "status": lambda: client.get("/v1/models/slow").raise_for_status(),
        }
        return {name: times_ms(ask, seconds) for name, ask in asks.items()}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        size = slow_size(folder)
        write_scale_model(folder / "slow" / "1", 1.0, matmul_size=size)
        write_scale_model(folder / "quick" / "1", 1.0)
        with running_server({name: folder / name for name in ("slow", "quick")}, folder) as server:
            alone = measured(server, options.seconds)
            stop, runs = threading.Event(), []

            def load() -> None:
                with rest(server) as client:
                    while not stop.is_set():
                        start_s = time.perf_counter()
                        ask_rest(client, "slow")
                        runs.append((time.perf_counter() - start_s) * 1e3)

            with ExitStack() as stack:
                threads = [threading.Thread(target=load) for _ in range(options.clients)]
                for thread in threads:
                    thread.start()
                    stack.callback(thread.join)
                stack.callback(stop.set)  # the last callback is the first to be called
                time.sleep(1.0)
                loaded = measured(server, options.seconds)
    print(
        f"slow model: {size} x {size} matrices, {options.clients} clients, answers after {statistics.median(runs):.0f} ms"
    )
    worst = 0.0
    for name, values in alone.items():
        added = p99(loaded[name]) - p99(values)
        worst = max(worst, added)
        print(
            f"{name:18} alone p50 {statistics.median(values):6.2f} p99 {p99(values):6.2f} ms;  under load "
            f"p50 {statistics.median(loaded[name]):6.2f} p99 {p99(loaded[name]):6.2f} ms;  p99 +{added:.2f}"
        )
    return int(worst > LIMIT_MS)


if __name__ == "__main__":
    raise SystemExit(main())
