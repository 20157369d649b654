"""The cost of one prediction, or of reading a model's signatures, from the shell: with tfsctl and with alternatives.

    python benchmarks/startup.py ./half_plus_two [--runs 7]
    python benchmarks/startup.py ... --before DIR    with another checkout of tfsctl, in the same run

Starts the embedded server with that model, then runs all sides in turn, as whole processes: wall time, CPU
time and peak memory of each, the median of all runs. The script is the one of TensorFlow Serving's own examples, with
`tensorflow_serving.apis`; it only predicts, while tfsctl requests the signature first. The side "embedded server" is
another server with that model, from its start until it reports over REST that the version is available; its memory is
what is resident then. With --before, run it from a folder without a `tfsctl` package, which would be imported first.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import httpx

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from model_servers import cpu_s, resident_mb, running_server
from ports import HOST, free_ports

# In a process of its own: a child's peak memory counts from that of its parent, which must stay small.
PREPARE = """
import json, sys
from pathlib import Path
from tfsctl.inputs.predict_inputs import choose_signature, example_arguments, shape_inputs
from tfsctl.core.model_dir import list_versions
from tfsctl.core.saved_model import read_saved_model
from tfsctl.core.types import ModelMetadata
from tfsctl.core.json_tensors import to_json

base = Path(sys.argv[1])
newest = list_versions(base)[-1]
metadata = ModelMetadata(base.name, newest.version, read_saved_model(newest.path).signatures)
signature = choose_signature(metadata, None)
typed = example_arguments(signature)
arrays = shape_inputs([typed], signature)
inputs = {spec.name: (spec.dtype, to_json(arrays[spec.name])) for spec in signature.inputs}
print(json.dumps([typed, signature.name, json.dumps(inputs)]))
"""

WITH_TENSORFLOW = """
import json, sys
import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

address, model, signature, inputs = sys.argv[1:]
stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(address))
request = predict_pb2.PredictRequest()
request.model_spec.name = model
request.model_spec.signature_name = signature
for name, (dtype, value) in json.loads(inputs).items():
    request.inputs[name].CopyFrom(tf.make_tensor_proto(value, dtype=dtype))
response = stub.Predict(request, 60)
print({name: tf.make_ndarray(tensor).tolist() for name, tensor in sorted(response.outputs.items())})
"""


@dataclass(frozen=True)
class Cost:
    """What a process took: seconds on the clock, seconds of CPU, megabytes at its peak."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def run(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> Cost:
    """Run a process to its end, in this process's environment by default. Raises AssertionError if its exit status is not 0."""
    start = time.perf_counter()
    process = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    output = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    assert process.returncode == 0, output.decode()
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def start_server(base: Path, environment: Mapping[str, str]) -> Cost:
    """Start an embedded server with a model, wait until its version is available, and stop it."""
    grpc_port, rest_port = free_ports(2)
    argv = [sys.executable, "-m", "tfsctl.server", f"--host={HOST}", f"--port={grpc_port}"]
    argv += [f"--rest_api_port={rest_port}", f"--model_name={base.name}", f"--model_base_path={base}"]
    start = time.perf_counter()
    with subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            while not is_available(rest_port, base.name):
                assert process.poll() is None, f"the server ended with exit code {process.returncode}"
                time.sleep(0.005)
            return Cost(time.perf_counter() - start, cpu_s(process.pid), resident_mb(process.pid))
        finally:
            process.send_signal(signal.SIGTERM)


def is_available(rest_port: int, model: str) -> bool:
    """Whether a server reports that a version of the model is available."""
    try:
        return '"AVAILABLE"' in httpx.get(f"http://{HOST}:{rest_port}/v1/models/{model}", trust_env=False).text
    except httpx.TransportError:
        return False


def median(costs: Sequence[Cost]) -> Cost:
    """The median of each figure."""
    return Cost(
        statistics.median(cost.wall_s for cost in costs),
        statistics.median(cost.cpu_s for cost in costs),
        statistics.median(cost.peak_mb for cost in costs),
    )


def main() -> None:
    """Measure, and print one line for each side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a model's base directory, as tfsctl export writes it")
    parser.add_argument("--runs", type=int, default=7, help="how often each side runs (default 7)")
    parser.add_argument("--before", metavar="DIR", help="another checkout of tfsctl, as an entry of PYTHONPATH")
    options = parser.parse_args()

    base = options.model.resolve()
    prepared = subprocess.run([sys.executable, "-c", PREPARE, str(base)], capture_output=True, check=True)
    typed, signature, inputs = json.loads(prepared.stdout)

    with tempfile.TemporaryDirectory() as folder, running_server({base.name: base}, Path(folder)) as server:
        sides = sides_of(base, server.grpc_port, typed, signature, inputs)
        if options.before:
            sides |= tfsctl_sides(base, server.grpc_port, typed, before=options.before)
        costs: dict[str, list[Cost]] = {side: [] for side in sides}
        for _ in range(options.runs):
            for side, measure in sides.items():
                costs[side].append(measure())
    print(f"{base.name}, {options.runs} runs each, Python {platform.python_version()}, {os.cpu_count()} CPUs, ", end="")
    print(", ".join(f"{name} {version(name)}" for name in ("tensorflow", "grpcio", "typer")))
    print(f"{'median of':38}{'wall s':>8}{'CPU s':>8}{'peak MB':>9}")
    for side, taken in costs.items():
        middle = median(taken)
        print(f"{side:38}{middle.wall_s:8.3f}{middle.cpu_s:8.3f}{middle.peak_mb:9.0f}")
    ours, theirs = median(costs["tfsctl predict --grpc"]), median(costs["script with tensorflow_serving.apis"])
    print(
        f"tfsctl is {theirs.wall_s / ours.wall_s:.1f} times as fast, with {ours.peak_mb / theirs.peak_mb:.0%} of the memory"
    )


def sides_of(base: Path, port: int, typed: str, signature: str, inputs: str) -> dict[str, Callable[[], Cost]]:
    """What measures each side, by its name. `port` is the gRPC port of the server.

    `typed` is the argument of `tfsctl predict`; `signature` and `inputs` are the same for the script.
    """
    cli = str(Path(sys.executable).with_name("saved_model_cli"))
    script = [sys.executable, "-c", WITH_TENSORFLOW, f"127.0.0.1:{port}", base.name, signature, inputs]
    alternatives = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "saved_model_cli show --all": [cli, "show", "--all", "--dir", newest_version(base)],
        "script with tensorflow_serving.apis": script,
    }
    return tfsctl_sides(base, port, typed) | {side: functools.partial(run, argv) for side, argv in alternatives.items()}


def tfsctl_sides(base: Path, port: int, typed: str, *, before: str | None = None) -> dict[str, Callable[[], Cost]]:
    """What measures each command of tfsctl, or of the one in the checkout `before`, by its name."""
    environment = os.environ | ({"PYTHONPATH": before} if before else {})
    address = ["--host", HOST, "--port", str(port), "--model", base.name]
    commands = {
        "tfsctl --help": ["--help"],
        "tfsctl ps": ["ps"],
        "tfsctl metadata DIR": ["metadata", newest_version(base)],
        "tfsctl predict --grpc": ["predict", "--grpc", *address, typed],
    }
    sides: dict[str, Callable[[], Cost]] = {
        side: functools.partial(run, [sys.executable, "-m", "tfsctl", *arguments], environment)
        for side, arguments in commands.items()
    }
    sides["embedded server"] = functools.partial(start_server, base, environment)
    return {f"before: {side}": measure for side, measure in sides.items()} if before else sides


def newest_version(base: Path) -> str:
    """The directory of the version with the highest number."""
    return str(max(base.iterdir(), key=lambda path: int(path.name) if path.name.isdecimal() else -1))


if __name__ == "__main__":
    main()
