"""The cost of one prediction, or of reading a model's signatures, from the shell: with tfsctl and with alternatives.

    python benchmarks/startup.py ./half_plus_two [--runs 7]

Starts the embedded server with that model, then runs all sides in turn, as whole processes: wall time, CPU
time and peak memory of each, the median of all runs. The script is the one of TensorFlow Serving's own examples, with
`tensorflow_serving.apis`; it only predicts, while tfsctl asks for the signature first.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from model_servers import running_server

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


def run(argv: Sequence[str]) -> Cost:
    """Run a process to its end. Raises AssertionError if its exit status is not 0."""
    start = time.perf_counter()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    output = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stderr.close()
    assert process.returncode == 0, output.decode()
    return Cost(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


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
    options = parser.parse_args()

    base = options.model.resolve()
    prepared = subprocess.run([sys.executable, "-c", PREPARE, str(base)], capture_output=True, check=True)
    typed, signature, inputs = json.loads(prepared.stdout)

    with tempfile.TemporaryDirectory() as folder, running_server({base.name: base}, Path(folder)) as server:
        costs = measured(base, server.grpc_port, options.runs, typed, signature, inputs)
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


def measured(base: Path, port: int, runs: int, typed: str, signature: str, inputs: str) -> dict[str, list[Cost]]:
    """The costs of each side, by its name. `port` is the gRPC port of the server.

    `typed` is the argument of `tfsctl predict`; `signature` and `inputs` are the same for the script.
    """
    tfsctl = [sys.executable, "-m", "tfsctl"]
    address = ["--host", "127.0.0.1", "--port", str(port), "--model", base.name]
    newest = str(max(base.iterdir(), key=lambda path: int(path.name) if path.name.isdecimal() else -1))
    sides = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "tfsctl --help": [*tfsctl, "--help"],
        "tfsctl metadata DIR": [*tfsctl, "metadata", newest],
        "saved_model_cli show --all": [
            *(str(Path(sys.executable).with_name("saved_model_cli")), "show", "--all", "--dir", newest)
        ],
        "tfsctl predict --grpc": [*tfsctl, "predict", "--grpc", *address, typed],
        "script with tensorflow_serving.apis": [
            *(sys.executable, "-c", WITH_TENSORFLOW, f"127.0.0.1:{port}", base.name, signature, inputs)
        ],
    }
    costs: dict[str, list[Cost]] = {side: [] for side in sides}
    for _ in range(runs):
        for side, argv in sides.items():
            costs[side].append(run(argv))
    return costs


if __name__ == "__main__":
    main()
