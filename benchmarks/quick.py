"""What a request costs the embedded server, as a multiple of a constant answer on the same transport, in two minutes.

    make bench-quick                          # writes docs/benchmarks.json, which docs/performance.md shows as a table
    python benchmarks/quick.py --output FILE

CPU time of the server processes is compared, not wall time, so other work on the machine hardly matters. The constant
answer is measured in turn with each cell; the median of the rounds is written. tests/server/test_request_cost.py bounds
the same ratios.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import pickle
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
from matrix import Cell, Server, grpc_head, measure, rest_head
from matrix_requests import PREDICT

from tfsctl import __version__
from tfsctl.core import protos, tensors

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tests" / "support"))

from echo_models import write_echo_model  # noqa: E402 - found on the path above
from model_servers import clean_environment, running_flags  # noqa: E402
from ports import free_ports, wait_until_listening  # noqa: E402
from raw_grpc import framed  # noqa: E402

CONNECTIONS, VARIANTS = 16, 100
ROUNDS, SECONDS = 3, 1.0
MODEL_PATH = "/v1/models/echo:predict"
CELLS = [
    (protocol, workload, merging)
    for protocol in ("grpc", "rest")
    for workload in ("text", "floats")
    for merging in ("merged", "single")
]
Encoded = list[tuple[bytes, bytes]]


def main() -> None:
    """Measure all cells and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks.json")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as scratch,
        constant_server(_folder(scratch, "constant")) as constant,
        model_server(_folder(scratch, "merged"), "on") as merged,
        model_server(_folder(scratch, "single"), "off") as single,
    ):
        servers = {"merged": merged, "single": single}
        results = []
        for protocol, workload, merging in CELLS:
            file = Path(scratch) / "requests.pickle"
            file.write_bytes(pickle.dumps(encoded(protocol, workload)))
            cell = Cell(workload, protocol, CONNECTIONS, merging)
            ratio = statistics.median(
                cost_us(cell, servers[merging], file) / cost_us(cell, constant, file) for _ in range(options.rounds)
            )
            results.append({"protocol": protocol, "workload": workload, "merging": merging, "ratio": round(ratio, 2)})
            sys.stdout.write(f"{protocol} {workload} {merging}: {ratio:.2f}\n")
    document = {
        "date": f"{dt.datetime.now(dt.timezone.utc):%Y-%m-%d}",
        "version": __version__,
        "python": platform.python_version(),
        "cpus": psutil.cpu_count(),
        "connections": CONNECTIONS,
        "rounds": options.rounds,
        "results": results,
    }
    options.output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def cost_us(cell: Cell, server: Server, requests: Path, seconds: float = SECONDS) -> float:
    """The CPU time of a request in microseconds. Raises AssertionError if a request fails."""
    sample = measure(server, cell, requests, seconds)
    assert sample.errors == 0, cell
    return sample.cpu_us


def _folder(scratch: str, name: str) -> Path:
    folder = Path(scratch) / name
    folder.mkdir()
    return folder


@contextmanager
def constant_server(folder: Path) -> Iterator[Server]:
    """The server that gives a constant answer, on the transport of the embedded server."""
    grpc_port, rest_port = free_ports(2)
    argv = [sys.executable, str(ROOT / "benchmarks" / "constant_app.py"), str(grpc_port), str(rest_port)]
    log = folder / "constant.log"
    with log.open("wb") as output:
        process = subprocess.Popen(argv, env=clean_environment(folder), stdout=output, stderr=output)
    try:
        wait_until_listening(process, (grpc_port, rest_port), log)
        yield Server("constant", psutil.Process(process.pid), {"grpc": grpc_port, "rest": rest_port})
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@contextmanager
def model_server(folder: Path, batching: str) -> Iterator[Server]:
    """A server of an echo model whose rows are merged or not."""
    write_echo_model(folder / "echo" / "1")
    flags = ["--model_name=echo", f"--model_base_path={folder / 'echo'}", f"--batching={batching}"]
    with running_flags(flags, folder) as served:
        yield Server(batching, psutil.Process(served.pid), {"grpc": served.grpc_port, "rest": served.rest_port})


def texts() -> Iterator[tuple[str, np.ndarray]]:
    """One string of varying length."""
    rng = random.Random(1)  # noqa: S311 - sizes of requests
    for _ in range(VARIANTS):
        yield "text", np.array(["word " * rng.randint(1, 40)], object)


def floats() -> Iterator[tuple[str, np.ndarray]]:
    """256 floats."""
    rng = np.random.default_rng(2)
    for _ in range(VARIANTS):
        yield "x", rng.normal(size=256).astype(np.float32)


def encoded(protocol: str, workload: str) -> Encoded:
    """The requests of a workload as the client sends them."""
    requests = []
    for name, array in (texts if workload == "text" else floats)():
        signature = "text" if name == "text" else "serving_default"
        if protocol == "grpc":
            message = protos.PredictRequest(model_spec={"name": "echo", "signature_name": signature})
            message.inputs[name].CopyFrom(tensors.to_proto(array, as_content=False))
            requests.append((grpc_head(PREDICT), framed(message.SerializeToString())))
        else:
            body = json.dumps({"signature_name": signature, "instances": array.tolist()}).encode()
            requests.append((rest_head(MODEL_PATH, len(body)), body))
    return requests


if __name__ == "__main__":
    main()
