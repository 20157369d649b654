"""Requests per second of the embedded server against stacks that answer a constant, alternating in one run.

    python benchmarks/serving.py amazon_review/1795344751/..  [--rounds 5] [--connections 1 8 32 64] [--seconds 3]
    python benchmarks/serving.py ... --before DIR    with the server of another checkout, in the same run

MODEL is the base directory of a text model (one string input `text` [batch]). Needs h2load (Debian: nghttp2-client)
for gRPC and wrk for REST, and `pyvoy` on PATH (pip install pyvoy uvloop, in an environment of its own): Envoy with a
Python application inside, which is what the embedded server is measured against. Prints, for each protocol and number
of connections, the median of each server's requests per second, its CPU microseconds a request, its median latency, and
the ratio to Envoy's constant answer. `transport` is the embedded server's own transport, answering a constant. With
--before, run it from a folder without a `tfsctl` package, which would be imported first.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h2load
import httpx

from tfsctl.core import protos

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from model_servers import cpu_s
from ports import HOST, free_ports

HERE = Path(__file__).parent
TEXT = "This movie is great! :D"
BODY = f'{{"instances": ["{TEXT}"]}}'


@dataclass(frozen=True)
class Server:
    """A running server."""

    pid: int
    grpc_port: int
    rest_port: int


@dataclass(frozen=True)
class Sample:
    """One measurement."""

    requests_per_s: float
    cpu_us: float
    median_ms: float


def answers(port: int) -> bool:
    """Whether an HTTP server answers on the port, with any status. A server may listen before it is ready."""
    try:
        httpx.post(f"http://{HOST}:{port}/v1/models/m:predict", content=BODY, timeout=5)
    except httpx.TransportError:
        return False
    return True


@contextmanager
def running(argv: list[str], grpc_port: int, rest_port: int) -> Iterator[Server]:
    """A server while the block lasts; entered once it answers."""
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    with subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not answers(rest_port):
                assert process.poll() is None, f"{argv[0]} ended"
                time.sleep(0.05)
            envoy = subprocess.run(
                ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False
            ).stdout
            yield Server(int(envoy.split()[0]) if envoy.split() else process.pid, grpc_port, rest_port)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def constant() -> tuple[list[str], int, int]:
    """The command of the constant application inside Envoy, and its port (one for both protocols)."""
    (port,) = free_ports(1)
    argv = ["pyvoy", "constant_app:application", "--port", str(port), "--loop", "uvloop", "--log-level", "error"]
    return argv, port, port


def transport() -> tuple[list[str], int, int]:
    """The command of the constant application on the embedded server's transport, and its ports."""
    grpc_port, rest_port = free_ports(2)
    return [sys.executable, str(HERE / "constant_app.py"), str(grpc_port), str(rest_port)], grpc_port, rest_port


def model_server(model: Path, batching: str, *, before: str | None = None) -> tuple[list[str], int, int]:
    """The command of the embedded server, or of the one in the checkout `before`, and its ports."""
    grpc_port, rest_port = free_ports(2)
    argv = [sys.executable, "-m", "tfsctl.server", f"--host={HOST}", f"--port={grpc_port}"]
    argv += [f"--rest_api_port={rest_port}", "--model_name=m", f"--model_base_path={model.resolve()}"]
    environment = ["env", f"PYTHONPATH={before}"] if before else []
    return [*environment, *argv, f"--batching={batching}"], grpc_port, rest_port


def load_grpc(server: Server, request: Path, connections: int, seconds: float) -> Sample:
    """Load Predict with h2load."""
    before = cpu_s(server.pid)
    argv = h2load.command(server.grpc_port, request, f"--duration={seconds:g}", f"-c{connections}", "-m1")
    output = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    done = h2load.succeeded(output)
    latency = re.search(r"time for request:\s+\S+\s+\S+\s+(\S+)", output)
    assert latency is not None, output
    return Sample(done / seconds, (cpu_s(server.pid) - before) / max(done, 1) * 1e6, _ms(latency[1]))


def load_rest(server: Server, script: Path, connections: int, seconds: float) -> Sample:
    """Load :predict with wrk."""
    before = cpu_s(server.pid)
    url = f"http://{HOST}:{server.rest_port}/v1/models/m:predict"
    argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", f"-s{script}", "--latency", url]
    output = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in output, output
    done = int(re.search(r"(\d+) requests in", output)[1])  # type: ignore[index] # wrk always says so
    latency = re.search(r"50%\s+(\d\S+)", output)
    assert latency is not None, output
    return Sample(done / seconds, (cpu_s(server.pid) - before) / max(done, 1) * 1e6, _ms(latency[1]))


def _ms(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr] # both tools write so
    return float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--before", metavar="DIR", help="another checkout of tfsctl, as an entry of PYTHONPATH")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        script = Path(scratch, "post.lua")
        message = protos.PredictRequest(model_spec={"name": "m"})
        message.inputs["text"].dtype = 7
        message.inputs["text"].tensor_shape.dim.add(size=1)
        message.inputs["text"].string_val.append(TEXT.encode())
        request = h2load.write_body(Path(scratch, "request.grpc"), message)
        script.write_text(f"wrk.method = \"POST\"\nwrk.body = '{BODY}'\n")
        commands = {
            "constant": constant(),
            "transport": transport(),
            "merged": model_server(options.model, "auto"),
            "not merged": model_server(options.model, "off"),
        }
        if options.before:
            commands["before, merged"] = model_server(options.model, "auto", before=options.before)
            commands["before, not merged"] = model_server(options.model, "off", before=options.before)
        samples: dict[tuple[str, int, str], list[Sample]] = {}
        for _ in range(options.rounds):
            for name, command in commands.items():
                with running(*command) as server:
                    load_rest(server, script, 32, 2.0)  # the first requests measure the model, and make replicas
                    for connections in options.connections:
                        for protocol, sample in (
                            ("gRPC", load_grpc(server, request, connections, options.seconds)),
                            ("REST", load_rest(server, script, connections, options.seconds)),
                        ):
                            samples.setdefault((protocol, connections, name), []).append(sample)
        _print(samples, list(commands), options.connections)


def _print(samples: dict[tuple[str, int, str], list[Sample]], names: list[str], connections: list[int]) -> None:
    print(f"medians; load average {os.getloadavg()[0]:.1f}")
    print(
        f"{'':4} {'conn.':>5}  {'server':<18} {'req/s':>8} {'of const.':>9} {'CPU us':>7} {'of const.':>9} {'p50 ms':>7}"
    )
    for protocol in ("gRPC", "REST"):
        for count in connections:
            base = samples[protocol, count, names[0]]
            for name in names:
                taken = samples[protocol, count, name]
                rate = statistics.median(s.requests_per_s for s in taken)
                cpu = statistics.median(s.cpu_us for s in taken)
                p50 = statistics.median(s.median_ms for s in taken)
                of_rate = rate / statistics.median(s.requests_per_s for s in base)
                of_cpu = statistics.median(s.cpu_us for s in base) / cpu
                print(
                    f"{protocol:4} {count:5}  {name:<18} {rate:8.0f} {of_rate:9.0%} {cpu:7.0f} {of_cpu:9.0%} {p50:7.2f}"
                )


if __name__ == "__main__":
    main()
