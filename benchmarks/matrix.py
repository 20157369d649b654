"""A matrix of workloads, protocols, connections and merging: the embedded server, alternating with another in one run.

    python benchmarks/matrix.py                                            # all cells of the embedded server alone
    python benchmarks/matrix.py --against 'tensorflow_model_server {flags}'
    python benchmarks/matrix.py --against 'env PYTHONPATH=/abs/before python -m tfsctl.server {flags}' --quick
    python benchmarks/matrix.py --cells 'text/*/32/*' 'image/grpc/*/single'

A cell is WORKLOAD/PROTOCOL/CONNECTIONS/MERGING. Workloads: text (one string), floats10, floats256, named3 (three named
inputs), embedding768 (768 floats out), rows32 (32 rows a request), example (Classify of a tf.Example), image (160x160x3
floats for MobileNetV2). Protocols: grpc, rest. Merging: `merged` models allow the server to merge rows of several
requests, `single` ones do not. Values and sizes vary from request to request.

In the command of --against, {flags} becomes the flags of tensorflow_model_server that name the ports and the models;
{grpc_port}, {rest_port} and {config} stand for them alone. Each server runs in turn while the other is idle. For each
cell and server the median over the rounds is reported: requests per second, CPU microseconds per request (of the server
and its children), p50 and p99 in ms, resident memory in MB. Results go to FOLDER/matrix.json and to SVG plots.
"""

from __future__ import annotations

import argparse
import fnmatch
import itertools
import json
import os
import pickle
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import matrix_models
import matrix_requests
import psutil
from hpack import Encoder
from matrix_plots import write_plots

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from ports import HOST, free_ports
from raw_grpc import framed

HERE = Path(__file__).parent
PROTOCOLS = ("grpc", "rest")
CONNECTIONS = (1, 8, 32, 128, 512, 1000)
MERGINGS = ("merged", "single")
QUICK_WORKLOADS, QUICK_CONNECTIONS = ("text", "floats256", "rows32"), (1, 32, 512)
VARIANTS = {"image": 8}
DEFAULT_VARIANTS = 200
WARM_UP_S = 0.3
MIN_SECONDS, MAX_SECONDS, QUICK_SECONDS = 0.5, 3.0, 0.6
WARM_UP_RUN_S, MAX_WARM_UPS, ENOUGH_REQUESTS = 1.5, 4, 50
BUDGET_S = 38 * 60
READY_S = 180.0
OURS = f"{sys.executable} -m tfsctl.server {{flags}}"


@dataclass(frozen=True, order=True)
class Cell:
    """One combination that is measured."""

    workload: str
    protocol: str
    connections: int
    merging: str

    def __str__(self) -> str:
        return f"{self.workload}/{self.protocol}/{self.connections}/{self.merging}"


@dataclass(frozen=True)
class Sample:
    """What one run of a cell measured."""

    requests_per_s: float
    cpu_us: float
    p50_ms: float
    p99_ms: float
    memory_mb: float
    errors: int


@dataclass(frozen=True)
class Server:
    """A running server."""

    name: str
    process: psutil.Process
    ports: dict[str, int]


@contextmanager
def running(name: str, command: str, folder: Path, bases: list[Path]) -> Iterator[Server]:
    """A server of these models while the block lasts; entered once both ports answer."""
    grpc_port, rest_port = free_ports(2)
    config = folder / f"{name}.config"
    entries = (f'config {{ name: "{b.name}" base_path: "{b}" model_platform: "tensorflow" }}' for b in bases)
    config.write_text("model_config_list {\n" + "\n".join(entries) + "\n}\n")
    flags = f"--port={grpc_port} --rest_api_port={rest_port} --model_config_file={config}"
    for placeholder, value in (
        ("flags", flags),
        ("grpc_port", grpc_port),
        ("rest_port", rest_port),
        ("config", config),
    ):
        command = command.replace(f"{{{placeholder}}}", str(value))
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        # In another folder: `python -m` would prefer a package of this one to that of PYTHONPATH.
        process = subprocess.Popen(shlex.split(command), stdout=output, stderr=subprocess.STDOUT, cwd=folder)
    try:
        deadline = time.monotonic() + READY_S
        while not all(map(_listens, (grpc_port, rest_port))):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(
                    f"{command} did not start ({process.poll()}):\n{log.read_text(errors='replace')[-2000:]}"
                )
            time.sleep(0.1)
        yield Server(name, psutil.Process(process.pid), {"grpc": grpc_port, "rest": rest_port})
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def warm_up(server: Server, cell: Cell, requests: Path) -> None:
    """Let a server optimize a model's graph, measure it and make its replicas: the first requests take far longer."""
    several = replace(cell, connections=4 if cell.workload == "image" else 32)
    for _ in range(MAX_WARM_UPS):
        if measure(server, several, requests, WARM_UP_RUN_S).requests_per_s * WARM_UP_RUN_S > ENOUGH_REQUESTS:
            return


def measure(server: Server, cell: Cell, requests: Path, seconds: float) -> Sample:
    """Run one cell against one server."""
    argv = [sys.executable, str(HERE / "load_client.py"), cell.protocol, str(server.ports[cell.protocol])]
    argv += [str(cell.connections), str(seconds), str(WARM_UP_S), str(requests)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "measuring\n", f"{cell}: the client failed"
        before = _cpu_s(server)
        assert client.stdout.readline() == "measured\n", f"{cell}: the client failed"
        used_s = _cpu_s(server) - before
        figures = json.loads(client.stdout.readline())
    memory = sum(process.memory_info().rss for process in _processes(server)) / 1e6
    return Sample(
        figures["requests"] / figures["seconds"],
        used_s / max(figures["requests"], 1) * 1e6,
        figures["p50_ms"],
        figures["p99_ms"],
        memory,
        figures["errors"],
    )


def _processes(server: Server) -> list[psutil.Process]:
    return [server.process, *server.process.children(recursive=True)]


def _cpu_s(server: Server) -> float:
    times = [process.cpu_times() for process in _processes(server)]
    return sum(one.user + one.system for one in times)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def model_of(cell: Cell) -> str:
    """The name of the model that a cell asks."""
    return matrix_models.MODEL_OF[cell.workload] + ("_single" if cell.merging == "single" else "")


def encoded(cell: Cell) -> list[tuple[bytes, bytes]]:
    """The requests of a cell as the client sends them: heads and bodies."""
    model = model_of(cell)
    count = VARIANTS.get(cell.workload, DEFAULT_VARIANTS)
    requests = matrix_requests.requests_for(cell.workload, model, count)
    if cell.protocol == "grpc":
        return [(grpc_head(one.grpc_path), framed(one.grpc_message)) for one in requests]
    return [(rest_head(f"/v1/models/{model}:{one.rest_verb}", len(one.rest_body)), one.rest_body) for one in requests]


def rest_head(path: str, length: int) -> bytes:
    """The head of an HTTP/1.1 request with a JSON body of that length."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def grpc_head(path: str) -> bytes:
    """An HPACK block without references to the dynamic table, so that it can be sent any number of times."""
    fields = [
        (":method", "POST", True),
        (":scheme", "http", True),
        (":path", path, True),
        (":authority", HOST, True),
        ("content-type", "application/grpc", True),
        ("te", "trailers", True),
    ]
    block: bytes = Encoder().encode(fields)
    return block


class Pace:
    """How long each run lasts: a fixed time, or what is left of the budget for each of the runs that are left."""

    def __init__(self, fixed: float | None, runs: int) -> None:
        self._fixed = fixed
        self._left = runs
        self._start = time.monotonic()
        self._done, self._measured_s = 0, 0.0

    def next_seconds(self) -> float:
        """The seconds of the next runs."""
        if self._fixed is not None:
            return self._fixed
        elapsed_s = time.monotonic() - self._start
        overhead_s = (elapsed_s - self._measured_s) / self._done if self._done else WARM_UP_S
        return min(MAX_SECONDS, max(MIN_SECONDS, (BUDGET_S - elapsed_s) / self._left - overhead_s))

    def measured(self, runs: int, seconds: float) -> None:
        """Record finished runs, each of which took `seconds`."""
        self._done += runs
        self._left -= runs
        self._measured_s += runs * seconds


def all_cells(*, quick: bool) -> list[Cell]:
    """The cells in the order of measurement."""
    workloads = QUICK_WORKLOADS if quick else tuple(matrix_models.MODEL_OF)
    connections = QUICK_CONNECTIONS if quick else CONNECTIONS
    return [Cell(*parts) for parts in itertools.product(workloads, PROTOCOLS, connections, MERGINGS)]


def median_of(samples: list[Sample]) -> Sample:
    """The median of each figure; errors are added up."""
    figures = {
        name: statistics.median(getattr(sample, name) for sample in samples)
        for name in ("requests_per_s", "cpu_us", "p50_ms", "p99_ms", "memory_mb")
    }
    return Sample(**figures, errors=sum(sample.errors for sample in samples))


def print_table(results: dict[Cell, dict[str, Sample]], names: list[str]) -> None:
    """One line for each cell and server; with two servers, the ratio of the first to the second."""
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; medians")
    print(
        f"{'cell':34} {'server':8} {'req/s':>8} {'CPU us':>8} {'p50 ms':>8} {'p99 ms':>9} {'MB':>6} {'errors':>6} {'x':>6}"
    )
    for cell, by_server in results.items():
        for name in names:
            one = by_server[name]
            ratio = ""
            if len(names) > 1 and name == names[0] and by_server[names[1]].requests_per_s:
                ratio = f"{one.requests_per_s / by_server[names[1]].requests_per_s:6.2f}"
            print(
                f"{cell!s:34} {name:8} {one.requests_per_s:8.0f} {one.cpu_us:8.0f} {one.p50_ms:8.2f} "
                f"{one.p99_ms:9.2f} {one.memory_mb:6.0f} {one.errors:6d} {ratio}"
            )
    if len(names) > 1:
        print(f"\ngeometric mean of {names[0]} / {names[1]}: {_mean_ratio(results, names):.2f}")


def _mean_ratio(results: dict[Cell, dict[str, Sample]], names: list[str]) -> float:
    pairs = [(by[names[0]].requests_per_s, by[names[1]].requests_per_s) for by in results.values()]
    ratios = [ours / theirs for ours, theirs in pairs if ours and theirs]
    return statistics.geometric_mean(ratios) if ratios else 0.0


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="COMMAND", help="the command line of another server")
    parser.add_argument(
        "--cells", nargs="+", default=["*"], metavar="PATTERN", help="only cells that match one of these"
    )
    parser.add_argument(
        "--quick", action="store_true", help="three workloads, three numbers of connections, short runs"
    )
    parser.add_argument("--rounds", type=int, default=2, help="runs of each cell and server (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, help="length of a run (default: up to 3, so that all runs take at most 40 minutes)"
    )
    parser.add_argument("--models", type=Path, help="folder for the models, kept for the next run")
    parser.add_argument("--output", type=Path, default=Path("matrix-results"), metavar="FOLDER", help="for the results")
    options = parser.parse_args()
    cells = [
        cell
        for cell in all_cells(quick=options.quick)
        if any(fnmatch.fnmatchcase(str(cell), pattern) for pattern in options.cells)
    ]
    if not cells:
        parser.error("no cell matches")
    commands = {"ours": OURS} | ({"against": options.against} if options.against else {})
    rounds = options.rounds
    runs = rounds * len(commands)
    print(f"{len(cells)} cells, each with {rounds} rounds for each server", flush=True)
    pace = Pace(options.seconds or (QUICK_SECONDS if options.quick else None), len(cells) * runs)
    options.output.mkdir(parents=True, exist_ok=True)
    samples: dict[Cell, dict[str, list[Sample]]] = {cell: {name: [] for name in commands} for cell in cells}
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        models = (options.models or folder / "models").resolve()
        models.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [sys.executable, str(HERE / "matrix_models.py"), str(models)], check=True, stderr=subprocess.DEVNULL
        )
        bases = sorted({models / model_of(cell) for cell in cells})
        servers = [stack.enter_context(running(name, command, folder, bases)) for name, command in commands.items()]
        warmed_up: set[tuple[str, str]] = set()
        for cell in cells:
            file = folder / "requests.pickle"
            file.write_bytes(pickle.dumps(encoded(cell)))
            if (model_of(cell), cell.protocol) not in warmed_up:
                warmed_up.add((model_of(cell), cell.protocol))
                for server in servers:
                    warm_up(server, cell, file)
            seconds = pace.next_seconds()
            for number in range(rounds):
                for server in servers if number % 2 == 0 else reversed(servers):
                    samples[cell][server.name].append(measure(server, cell, file, seconds))
            pace.measured(runs, seconds)
            done = " ".join(f"{n} {median_of(s).requests_per_s:.0f}/s" for n, s in samples[cell].items())
            print(f"{cell!s:34} {done}", flush=True)
    results = {
        cell: {name: median_of(taken) for name, taken in by_server.items()} for cell, by_server in samples.items()
    }
    print_table(results, list(commands))
    document = {
        "commands": commands,
        "rounds": rounds,
        "load_average": os.getloadavg(),
        "cells": [
            {**asdict(cell), "servers": {name: asdict(sample) for name, sample in by_server.items()}}
            for cell, by_server in results.items()
        ],
    }
    (options.output / "matrix.json").write_text(json.dumps(document, indent=1))
    write_plots(document, options.output)
    print(f"results in {options.output}")


if __name__ == "__main__":
    main()
