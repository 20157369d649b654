"""The server's cost of a 224 x 224 x 3 float image, apart from the model: as gRPC tensor_content, and as REST JSON.

    python benchmarks/large_tensors.py [--rounds 5] [--requests 100]

The model sums the image, so the answer is one number and the run takes a fraction of a millisecond. Prints the median
CPU milliseconds per request of the server process: over gRPC, over gRPC with a one-pixel image (the cost of any
request), and over REST; also the time to parse that JSON in this process, with orjson and with simdjson.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import orjson
import simdjson

from tfsctl.core import protos, tensors

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from graph_models import GraphModel
from grpc_requests import PREDICT, raw_call
from model_servers import cpu_s, running_server


def write_sum_model(version_dir: Path) -> None:
    """A model whose answer is the sum of each image."""
    model = GraphModel()
    model.input("image", shape=(-1, -1, -1, 3))
    model.constant("axes", np.array([1, 2, 3], np.int32))
    model.op("Sum", "total", "image", "axes", T="float32", Tidx="int32")
    model.signature({"image": "image"}, {"sum": "total"})
    model.write(version_dir)


def cost_ms(pid: int, ask: Callable[[], object], requests: int) -> float:
    """The server's CPU milliseconds for each of many requests."""
    ask()
    before = cpu_s(pid)
    for _ in range(requests):
        ask()
    return (cpu_s(pid) - before) / requests * 1e3


def parse_ms(parse: Callable[[], object], times: int) -> float:
    """The CPU milliseconds of parsing here."""
    start_s = time.process_time()
    for _ in range(times):
        parse()
    return (time.process_time() - start_s) / times * 1e3


def numbers_of(document: Any) -> object:  # noqa: ANN401 - simdjson has no type for what is known to be an object
    """All numbers of a row-form document, as simdjson gives them."""
    return document["instances"].as_buffer(of_type="d")


def request_of(image: np.ndarray) -> bytes:
    """A serialized PredictRequest with an image as tensor_content."""
    request = protos.PredictRequest(model_spec={"name": "sum"})
    request.inputs["image"].CopyFrom(tensors.to_proto(image))
    raw: bytes = request.SerializeToString()
    return raw


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=100)
    options = parser.parse_args()
    image = np.random.default_rng(0).random((1, 224, 224, 3), dtype=np.float32)
    body = orjson.dumps({"instances": image.tolist()})
    large, small = request_of(image), request_of(image[:, :1, :1])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_sum_model(folder / "sum" / "1")
        with (
            running_server({"sum": folder / "sum"}, folder) as server,
            httpx.Client(base_url=f"http://{server.host}:{server.rest_port}", timeout=60) as client,
            grpc.insecure_channel(f"{server.host}:{server.grpc_port}") as channel,
        ):
            call = raw_call(channel, PREDICT)
            measures: dict[str, Callable[[], float]] = {
                "gRPC, the image": lambda: cost_ms(server.pid, lambda: call(large), options.requests),
                "gRPC, one pixel": lambda: cost_ms(server.pid, lambda: call(small), options.requests),
                "REST, the image": lambda: cost_ms(
                    server.pid,
                    lambda: client.post("/v1/models/sum:predict", content=body).raise_for_status(),
                    options.requests,
                ),
                "orjson.loads": lambda: parse_ms(lambda: orjson.loads(body), options.requests),
                "simdjson, as a buffer": lambda: parse_ms(
                    lambda: numbers_of(simdjson.Parser().parse(body)), options.requests
                ),
            }
            taken: dict[str, list[float]] = {name: [] for name in measures}
            for _ in range(options.rounds):
                for name, measure in measures.items():
                    taken[name].append(measure())
    print(f"an image of 224 x 224 x 3 floats: {len(large):,} bytes over gRPC, {len(body):,} as JSON; CPU ms a request")
    for name, values in taken.items():
        print(f"{name:22} {statistics.median(values):7.2f}")


if __name__ == "__main__":
    main()
