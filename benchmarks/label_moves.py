"""Move the label `stable` a thousand times under load: is a request lost, and how long does a move take?

    python benchmarks/label_moves.py [--moves 1000] [--clients 2] [--delay 0] [--engine embedded] [--server-arg FLAG]

Serves a model of three versions whose answers tell the version. Clients of both protocols ask for the label `stable`,
and for no version at all, `--delay` milliseconds after the answer before; each answer must be right. Meanwhile `stable`
moves by `promote` (now and then to a version that has to be loaded) and by `rollback`, and after each move one request
must reach the new version.
The exit status is 1 if a request failed. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median, quantiles
from typing import TYPE_CHECKING

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from scale_models import write_scale_model

if TYPE_CHECKING:
    from tfsctl.rollout.labels.managed_model import ManagedModel

VERSIONS = (1, 2, 3)
CYCLE = 20  # moves; one of them is a rollback, which releases a version, and the next one loads another


class Load:
    """Clients in threads that ask again and again, and what they saw."""

    def __init__(self, urls: list[str], clients: int, delay_ms: float) -> None:
        self.requests = 0
        self.failures: list[str] = []
        self._delay_s = delay_ms / 1000
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._ask, args=(url, label))
            for url in urls
            for label in ("stable", None)
            for _ in range(clients)
        ]

    def start(self) -> None:
        """Start asking."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop asking; returns when every client has its last answer."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, url: str, label: str | None) -> None:
        import tfsctl

        count = 0
        with tfsctl.connect(url, model="scale", label=label) as client:
            while not self._stop.wait(self._delay_s):
                try:
                    answer = float(client.predict(10.0)["y"][0])
                    if answer not in [10.0 * version for version in VERSIONS]:
                        self.failures.append(f"{url} {label}: answered {answer}")
                except Exception as error:  # noqa: BLE001 - each one is a lost request
                    self.failures.append(f"{url} {label}: {error}")
                count += 1
        with self._lock:
            self.requests += count


def run(moves: int, clients: int, engine: str, delay_ms: float, server_args: list[str]) -> dict[str, object]:
    """Serve, ask and move; returns the figures."""
    from tfsctl.rollout.labels import label_changes

    base = Path(os.environ["TFSCTL_STATE_DIR"]).parent / "scale"
    for version in VERSIONS:
        write_scale_model(base / str(version), float(version))
    seconds: dict[str, list[float]] = {"promote": [], "promote_and_load": [], "rollback": []}
    options = ["--engine", engine, "--rest-port", "0", "--grpc-port", "0"]
    options += [f"--server-arg={flag}" for flag in server_args]
    served = json.loads(_tfsctl("serve", str(base), "--detach", "--json", *options))
    grpc_address, url = f"{served['host']}:{served['grpc_port']}", f"http://{served['host']}:{served['rest_port']}"
    try:
        model = label_changes.find_model("scale")
        label_changes.set_labels(model, {"stable": 1})
        load = Load([grpc_address, url], clients, delay_ms)
        load.start()
        started = time.perf_counter()
        try:
            _move(model, grpc_address, moves, load, seconds)
        finally:
            load.stop()
        elapsed = time.perf_counter() - started
    finally:
        _tfsctl("stop", "scale")
    return {
        "moves": moves,
        "seconds": round(elapsed, 1),
        "requests": load.requests,
        "failures": len(load.failures),
        "first_failures": load.failures[:5],
        "move_ms": {
            kind: {"count": len(times), "median": round(1000 * median(times), 1), "p99": round(1000 * _p99(times), 1)}
            for kind, times in seconds.items()
            if times
        },
    }


def _tfsctl(*args: str) -> str:
    done = subprocess.run([sys.executable, "-m", "tfsctl", *args], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def _move(model: ManagedModel, address: str, moves: int, load: Load, seconds: dict[str, list[float]]) -> None:
    import tfsctl
    from tfsctl.rollout.labels import label_changes

    stable = 1
    with tfsctl.connect(address, model="scale", label="stable") as client:
        for move in range(moves):
            loaded = label_changes.label_state(model).loaded
            others = [version for version in loaded if version != stable]
            if move % CYCLE == CYCLE - 2 and others:
                kind, change = "rollback", label_changes.rollback(model)
            elif others:
                kind, change = "promote", label_changes.promote(model, version=others[0])
            else:
                unloaded = stable % len(VERSIONS) + 1
                kind, change = "promote_and_load", label_changes.promote(model, version=unloaded)
            seconds[kind].append(change.seconds)
            stable = change.labels["stable"]
            answer = float(client.predict(10.0)["y"][0])
            if answer != 10.0 * stable:
                load.failures.append(f"after move {move}, stable is {stable} and answered {answer}")


def _p99(times: list[float]) -> float:
    return quantiles(times, n=100, method="inclusive")[98] if len(times) > 1 else times[0]


def main() -> int:
    """Run it with a state directory of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=1, help="for each protocol, with and without a label")
    parser.add_argument("--delay", type=float, default=0.0, help="milliseconds between two requests of a client")
    parser.add_argument("--engine", default="embedded")
    parser.add_argument("--server-arg", action="append", default=[], help="a flag of the server, as for `tfsctl serve`")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TFSCTL_STATE_DIR"] = f"{folder}/state"
        figures = run(options.moves, options.clients, options.engine, options.delay, options.server_arg)
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    return 1 if figures["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
