"""What an export costs, and what warmup requests save: three measurements, each of whole processes.

    python benchmarks/export.py overhead       CPU of `tfsctl export`, all checks included, against model.export()
    python benchmarks/export.py memory         peak memory of the process that verifies a 400 MB model
    python benchmarks/export.py first_request  first request after loading, with and without warmup requests

The sides of a comparison run in turn; the figures are medians. docs/performance.md has figures of one machine.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from startup import run

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from model_servers import running_server

MODELS = {
    "dense": """
import keras
x = keras.Input((64,), name="x")
model = keras.Model(x, keras.layers.Dense(10, "softmax", name="p")(keras.layers.Dense(256, "relu")(x)))
""",
    "mobilenet": """
import keras
model = keras.applications.MobileNetV2(weights=None, input_shape=(160, 160, 3))
""",
}
BARE = "\nimport sys\nmodel.export(sys.argv[1], verbose=False)\n"
LARGE = """
import tensorflow as tf
class Table(tf.Module):
    def __init__(self):
        super().__init__()
        self.rows = tf.Variable(tf.random.normal([100_000_000 // 64, 64], seed=1), name="rows")
    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, name="row")])
    def __call__(self, row):
        return {"values": tf.gather(self.rows, row)}
model = Table()
"""
# TensorFlow prepares and optimizes the graph, and XLA compiles it, when it is first run with a shape.
COSTLY = """
import keras, tensorflow as tf
class Net(tf.Module):
    def __init__(self):
        super().__init__()
        self.net = keras.Sequential([keras.Input((64,)), *(keras.layers.Dense(1024, "gelu") for _ in range(24))])
    @tf.function(input_signature=[tf.TensorSpec([None, 64], tf.float32, name="x")])
    def __call__(self, x):
        return {"y": self.compiled(x)}
    @tf.function(jit_compile=True)
    def compiled(self, x):
        return self.net(x)
model = Net()
"""
REQUESTS = 10


def overhead(folder: Path, runs: int) -> None:
    """CPU seconds of an export, for each model."""
    for name, code in MODELS.items():
        source, bare = folder / f"{name}.py", folder / f"bare_{name}.py"
        source.write_text(code)
        bare.write_text(code + BARE)
        plain, verified = [], []
        for number in range(runs):
            plain.append(run([sys.executable, str(bare), str(folder / f"bare-{name}-{number}")]))
            verified.append(run([*TFSCTL, "export", str(source), "--to", str(folder / "models"), "--quiet"]))
        cpu_s = [statistics.median(cost.cpu_s for cost in side) for side in (plain, verified)]
        wall_s = [statistics.median(cost.wall_s for cost in side) for side in (plain, verified)]
        print(
            f"{name}: model.export {cpu_s[0]:.2f} s CPU, {wall_s[0]:.2f} s; "
            f"tfsctl export {cpu_s[1]:.2f} s CPU, {wall_s[1]:.2f} s; CPU ratio {cpu_s[1] / cpu_s[0]:.2f}"
        )


def memory(folder: Path, _runs: int) -> None:
    """Memory for a model of 400 MB, from its manifest."""
    source = folder / "table.py"
    source.write_text(LARGE)
    run([*TFSCTL, "export", str(source), "--to", str(folder), "--quiet"])
    (version,) = (folder / "table").glob("[0-9]*")
    size = sum(path.stat().st_size for path in version.rglob("*") if path.is_file())
    found = json.loads((version / "assets.extra" / "tfsctl_manifest.json").read_bytes())["memory"]
    print(
        f"{size / 1e6:.0f} MB on disk; loaded {found['loaded_bytes'] / 1e6:.0f} MB, "
        f"peak {found['peak_bytes'] / 1e6:.0f} MB: {found['peak_bytes'] / size:.2f} of its size"
    )


def first_request(folder: Path, runs: int) -> None:
    """Milliseconds of the first and the tenth request, in servers that have just become ready.

    Wall time, and the CPU time of the server's threads, which says more on a busy machine.
    """
    source = folder / "costly.py"
    source.write_text(COSTLY)
    for side, options in (("cold", []), ("warmed", ["--warmup", "auto"])):
        run([*TFSCTL, "export", str(source), "--name", side, "--to", str(folder), "--quiet", *options])
    times: dict[str, list[list[tuple[float, float]]]] = {"cold": [], "warmed": []}
    for _ in range(runs):
        for side, found in times.items():
            with running_server({side: folder / side}, folder) as server:
                found.append(_request_times(server.rest_port, side, server.pid))
    for side, found in times.items():
        for kind, clock in enumerate(("wall", "CPU")):
            first, tenth = (statistics.median(series[at][kind] for series in found) for at in (0, -1))
            print(f"{side}: {clock}: first request {first:.2f} ms, tenth {tenth:.2f} ms: {first / tenth:.1f} times")


def _request_times(port: int, model: str, pid: int) -> list[tuple[float, float]]:
    """Milliseconds of wall time and of CPU of each request, on a connection that has asked for the model's status."""
    body = json.dumps({"instances": [[0.5] * 64]})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    times = []
    for method, path in (("GET", f"/v1/models/{model}"), *[("POST", f"/v1/models/{model}:predict")] * REQUESTS):
        started_s, cpu_ms = time.perf_counter(), _cpu_ms(pid)
        connection.request(method, path, body if method == "POST" else None)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        times.append(((time.perf_counter() - started_s) * 1000, _cpu_ms(pid) - cpu_ms))
    connection.close()
    return times[1:]


def _cpu_ms(pid: int) -> float:
    """The CPU time of all threads of a process, in nanoseconds in the kernel's files."""
    files = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(file.read_text().split()[0]) for file in files) / 1e6


TFSCTL = [sys.executable, "-m", "tfsctl"]
MEASUREMENTS = {one.__name__: one for one in (overhead, memory, first_request)}


def main(argv: Sequence[str] | None = None) -> None:
    """Run one measurement in a temporary folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measurement", choices=MEASUREMENTS)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args(argv)
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    with tempfile.TemporaryDirectory() as folder:
        MEASUREMENTS[options.measurement](Path(folder), options.runs)


if __name__ == "__main__":
    main()
