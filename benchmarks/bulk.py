"""Predictions for a file of rows: `tfsctl predict --file`, a loop of single requests, and a compiled client.

    python benchmarks/bulk.py ./amazon_review [--rows 1000000] [--rounds 3]

MODEL is the base directory of a text model: one string input `text` [batch], one output `score`. The embedded server
serves it to three clients in turn; medians of all rounds are printed:

- tfsctl over gRPC and over REST, as whole processes from a CSV file to a CSV file, with their peak memory
- a loop of one `stub.Predict` per row with `tf.make_tensor_proto` (imports are not counted)
- h2load, with the batch size and the concurrency that tfsctl chose

Then a response of a million floats is decoded by tfsctl and by `tf.make_ndarray`. Needs h2load (Debian: nghttp2-client).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import h2load
import numpy as np
from serving import Server, model_server, running

from tfsctl.core import protos, tensors
from tfsctl.core.arrays import object_array

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from ports import HOST

WORDS = (
    "great",
    "bad",
    "movie",
    "book",
    "loved",
    "hated",
    "it",
    "the",
    "a",
    "was",
    "product",
    "broke",
    "after",
    "week",
)
LOOP_ROWS = 3000
H2LOAD_S = 3

LOOP = """
import csv, itertools, sys, time
import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

port, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel("127.0.0.1:" + port))

def ask(text):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.model_spec.signature_name = "serving_default"
    request.inputs["text"].CopyFrom(tf.make_tensor_proto([text]))
    return tf.make_ndarray(stub.Predict(request, 60).outputs["score"])

ask("the first takes longer")
with open(path, newline="") as file:
    start = time.perf_counter()
    for row in itertools.islice(csv.DictReader(file), count):
        ask(row["text"])
    print(count / (time.perf_counter() - start))
"""

DECODE = """
import statistics, sys, time
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.predict_pb2 import PredictResponse
from tfsctl.core.predict_response import read_predict_response

def official(raw):
    return tf.make_ndarray(PredictResponse.FromString(raw).outputs["y"])

def ours(raw):
    return read_predict_response(raw)[0]["y"]

raw = sys.stdin.buffer.read()
assert (official(raw) == ours(raw)).all()
for decode in (official, ours):
    taken = []
    for _ in range(9):
        start = time.perf_counter()
        decode(raw)
        taken.append(time.perf_counter() - start)
    print(statistics.median(taken) * 1000)
"""


@dataclass(frozen=True)
class Run:
    """The figures of one run of tfsctl. `whole_s` includes the start of the process, `rows_per_s` does not."""

    rows_per_s: float
    whole_s: float
    peak_mb: float
    batch_size: int
    concurrency: int


def write_rows(path: Path, count: int) -> None:
    """Write a CSV file of reviews that consist of random words."""
    chosen = random.Random(0)  # noqa: S311 - the same rows each time
    with path.open("w", encoding="utf-8") as file:
        file.write("text\n")
        file.writelines(" ".join(chosen.choices(WORDS, k=6)) + "\n" for _ in range(count))


def tfsctl(server: Server, over: str, rows: Path, count: int) -> Run:
    """Run `tfsctl predict` from the file to a file, as a whole process."""
    port = server.grpc_port if over == "grpc" else server.rest_port
    output = rows.with_name("scores.csv")
    argv = [sys.executable, "-m", "tfsctl", "predict", f"--{over}", "--host", HOST, "--port", str(port), "--model", "m"]
    argv += ["--file", str(rows), "--output", str(output), "--json"]
    taken = [sys.executable, "-c", _TIMED, *argv]
    document, seconds, peak_mb = subprocess.run(taken, capture_output=True, text=True, check=True).stdout.splitlines()
    report = json.loads(document)
    assert report["rows"] == count, report
    return Run(report["rows_per_s"], float(seconds), float(peak_mb), report["batch_size"], report["concurrency"])


# In a process of its own: a child's peak memory counts from that of its parent, which must stay small.
_TIMED = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(process.pid, 0)
print(time.perf_counter() - start)
print(usage.ru_maxrss / 1024)
process.returncode = os.waitstatus_to_exitcode(status)
sys.exit(process.returncode)
"""


def loop(server: Server, rows: Path) -> float:
    """Rows per second of the loop."""
    argv = [sys.executable, "-c", LOOP, str(server.grpc_port), str(rows), str(LOOP_ROWS)]
    return float(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


def compiled_rate(server: Server, rows: Path, run: Run) -> float:
    """Rows per second of a compiled client that sends the same batch again and again."""
    with rows.open(encoding="utf-8") as file:
        texts = [line.strip().encode() for line, _ in zip(file, range(run.batch_size + 1), strict=False)][1:]
    request = protos.PredictRequest(model_spec={"name": "m"})
    request.inputs["text"].CopyFrom(tensors.to_proto(object_array(texts)))
    body = h2load.write_body(rows.with_name("request.grpc"), request)
    argv = h2load.command(server.grpc_port, body, f"--duration={H2LOAD_S}", f"-c{run.concurrency}", "-m1")
    report = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return h2load.succeeded(report) * len(texts) / H2LOAD_S


def decoded_ms(as_content: bool) -> tuple[float, float]:
    """Milliseconds from the bytes of an answer to an array of a million floats: tf.make_ndarray's, and ours."""
    response = protos.PredictResponse()
    array = np.random.default_rng(0).random(1_000_000, np.float32)
    tensors.fill_proto(response.outputs["y"], array, as_content=as_content)
    run = subprocess.run(
        [sys.executable, "-c", DECODE],
        input=response.SerializeToString(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    theirs, ours = map(float, run.stdout.split())
    return theirs, ours


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    runs: dict[str, list[Run]] = {"grpc": [], "rest": []}
    loops, compiled = [], []
    with tempfile.TemporaryDirectory() as scratch:
        rows = Path(scratch, "rows.csv")
        write_rows(rows, options.rows)
        with running(*model_server(options.model, "auto")) as server:
            tfsctl(server, "grpc", rows, options.rows)  # the first requests measure the model
            for _ in range(options.rounds):
                loops.append(loop(server, rows))
                for over, measured in runs.items():
                    measured.append(tfsctl(server, over, rows, options.rows))
                compiled.append(compiled_rate(server, rows, runs["grpc"][-1]))
    slow, fast = statistics.median(loops), statistics.median(compiled)
    print(f"{options.rows:,} rows, medians of {options.rounds}; load average {os.getloadavg()[0]:.1f}")
    print(f"{'':22} {'rows/s':>9} {'of loop':>8} {'of h2load':>9} {'whole s':>8} {'peak MB':>8}")
    print(f"{'loop, a row a request':22} {slow:9,.0f}")
    for over, measured in runs.items():
        rate = statistics.median(run.rows_per_s for run in measured)
        whole = statistics.median(run.whole_s for run in measured)
        peak = max(run.peak_mb for run in measured)
        print(f"{'tfsctl --' + over:22} {rate:9,.0f} {rate / slow:8.0f} {rate / fast:9.0%} {whole:8.1f} {peak:8.0f}")
    print(f"{'h2load, same batches':22} {fast:9,.0f} {fast / slow:8.0f}")
    for name, as_content in (("float_val", False), ("tensor_content", True)):
        theirs, ours = decoded_ms(as_content)
        print(
            f"a million floats in {name}: tf.make_ndarray {theirs:.2f} ms, tfsctl {ours:.3f} ms: {theirs / ours:.0f} times"
        )


if __name__ == "__main__":
    main()
