"""Rollouts under mixed load: is a request lost, is one answered by a wrong version, and how fast is a weight change?

    python benchmarks/rollouts.py [--minutes 30] [--delay 5]

Serves a model behind a front. Its answer tells its version. wrk (REST), h2load (gRPC), a REST client and two grpcio
clients with keep-alive send requests without a pause, each after `--delay` milliseconds. Meanwhile versions are rolled
out again and again: canary, larger weights, promotion; canary and rollback; shadow; A/B test; recording. Each answer must come from
a version that was allowed to answer at some time between the request and the answer. Without wrk and h2load (Debian: wrk,
nghttp2-client) the other clients run alone. Prints one JSON document; the exit status is 1 if a request was lost or a
version answered that should not have.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import h2load
import numpy as np

from tfsctl.core import protos, tensors
from tfsctl.rollout.front import operations
from tfsctl.rollout.front.rollout_state import RolloutPlan

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from grpc_requests import PREDICT
from scale_models import write_scale_model

REST_BODY = b'{"instances": [1.0]}'
KEEPALIVE = [("grpc.keepalive_time_ms", 10_000), ("grpc.keepalive_permit_without_calls", 1)]
SLICE_S = 5  # of h2load, which loses its report if it is interrupted
ANSWERS_OF_A_STEP = 40  # of the checking clients
STEP_TIMEOUT_S = 60.0
WRK_SCRIPT = """
wrk.method = "POST"
wrk.body = '{"instances": [1.0]}'
counts = {}
function delay() return DELAY end
function response(status, headers, body)
  local key = os.time() .. " " .. status .. " " .. (string.match(body, "([%d.]+)%s*%]") or "0")
  counts[key] = (counts[key] or 0) + 1
end
local threads = {}
function setup(thread) table.insert(threads, thread) end
function done()
  for _, thread in ipairs(threads) do
    for key, count in pairs(thread:get("counts")) do io.write("count " .. key .. " " .. count .. "\\n") end
  end
end
"""


class Schedule:
    """When each version may answer: from before the command that begins it until after the one that ends it."""

    def __init__(self) -> None:
        self._windows: dict[int, list[list[float]]] = {}

    def allow(self, version: int) -> None:
        """From now on, the version may answer."""
        self._windows.setdefault(version, []).append([time.time(), float("inf")])

    def forbid(self, version: int) -> None:
        """From now on, no request may begin that the version answers."""
        self._windows[version][-1][1] = time.time()

    def is_allowed(self, version: float, begun: float, ended: float) -> bool:
        """Whether the version may have answered a request that lasted from `begun` to `ended` (Unix times)."""
        return any(begun <= last and ended >= first for first, last in self._windows.get(int(version), ()))


@dataclass
class Result:
    """What all clients saw. `failures` are lost requests, `wrong` are answers of a version that had no traffic."""

    requests: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    last_begun: dict[int, float] = field(default_factory=dict)
    """When the last request began that each version answered."""
    latencies_ms: list[float] = field(default_factory=list)
    weight_changes_s: list[float] = field(default_factory=list)
    cycles: Counter[str] = field(default_factory=Counter)

    @property
    def checked(self) -> int:
        """The answers of the clients that check each of them."""
        return self.requests["rest"] + self.requests["grpcio"]

    def document(self, seconds: float) -> dict[str, Any]:
        """The figures as JSON values."""
        times = sorted(self.weight_changes_s)
        return {
            "seconds": round(seconds, 1),
            "requests": dict(self.requests),
            "lost": len(self.failures),
            "wrong_version": len(self.wrong),
            "first_failures": [*self.failures, *self.wrong][:5],
            "steps": dict(self.cycles),
            "weight_change_s": times
            and {"count": len(times), "median": round(median(times), 3), "max": round(times[-1], 3)},
            "latency_ms": self.latencies_ms
            and {f"p{rank}": round(float(np.percentile(self.latencies_ms, rank)), 2) for rank in (50, 99)},
        }


class Load:
    """The clients, in threads. `stop` waits for their last answers."""

    def __init__(
        self, ports: tuple[int, int], schedule: Schedule, result: Result, folder: Path, delay_ms: float
    ) -> None:
        self._rest_port, self._grpc_port = ports
        self._schedule, self._result, self._folder, self._delay_s = schedule, result, folder, delay_ms / 1000
        self._stop = threading.Event()
        self._lock = threading.Lock()
        targets: list[Callable[[], None]] = [self._rest, self._grpcio, self._grpcio]
        targets += [self._wrk] if shutil.which("wrk") else []
        targets += [self._h2load] if shutil.which("h2load") else []
        self._threads = [threading.Thread(target=self._guarded, args=(target,)) for target in targets]

    def start(self) -> None:
        """Start all clients."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop them."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _guarded(self, target: Callable[[], None]) -> None:
        try:
            target()
        except Exception as error:  # noqa: BLE001 - a client that ends has lost requests
            self._result.failures.append(f"{target.__name__} ended: {error!r}")

    def _check(self, client: str, ask: Callable[[str], float]) -> None:
        """Send requests, and check every answer."""
        result, number = self._result, 0
        while not self._stop.wait(self._delay_s):
            number += 1
            begun, started = time.time(), time.perf_counter()
            try:
                version = ask(f"user-{number % 500}")
            except (OSError, http.client.HTTPException, ValueError, grpc.RpcError) as error:
                result.failures.append(f"{client}: {error!r}")
                continue
            finally:
                with self._lock:
                    result.requests[client] += 1
            if not self._schedule.is_allowed(version, begun, time.time()):
                result.wrong.append(f"{client}: version {version:g} at {begun:.3f}")
            with self._lock:
                result.last_begun[int(version)] = max(begun, result.last_begun.get(int(version), 0.0))
                result.latencies_ms.append(1000 * (time.perf_counter() - started))

    def _rest(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._rest_port, timeout=30)

        def ask(user: str) -> float:
            connection.request("POST", "/v1/models/scale:predict", REST_BODY, {"user-id": user})
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                raise ValueError(f"{response.status} {body!r}")
            return float(json.loads(body)["predictions"][0])

        self._check("rest", ask)
        connection.close()

    def _grpcio(self) -> None:
        request = _request().SerializeToString()
        with grpc.insecure_channel(f"127.0.0.1:{self._grpc_port}", KEEPALIVE) as channel:
            predict: Any = channel.unary_unary(PREDICT)

            def ask(user: str) -> float:
                answer = protos.PredictResponse.FromString(predict(request, metadata=[("user-id", user)], timeout=30))
                return float(tensors.from_proto(answer.outputs["y"])[0])

            self._check("grpcio", ask)

    def _wrk(self) -> None:
        script = self._folder / "post.lua"
        script.write_text(WRK_SCRIPT.replace("DELAY", f"{1000 * self._delay_s:.0f}"))
        url = f"http://127.0.0.1:{self._rest_port}/v1/models/scale:predict"
        argv = ["wrk", "-t1", "-c4", "-d24h", "--timeout=30s", f"-s{script}", url]
        running = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self._stop.wait()
        running.send_signal(signal.SIGINT)
        output = running.communicate()[0]
        for second, status, version, count in re.findall(r"count (\d+) (\d+) ([\d.]+) (\d+)", output):
            self._result.requests["wrk"] += int(count)
            if status != "200":
                self._result.failures.append(f"wrk: {count} times status {status}")
            # wrk tells whole seconds, and how long a request took is not known
            elif not self._schedule.is_allowed(float(version), int(second) - 1, int(second) + 1):
                self._result.wrong.append(f"wrk: version {version} at {second}")
        self._result.failures += [f"wrk: {line}" for line in re.findall("Socket errors.*", output)]

    def _h2load(self) -> None:
        body = h2load.write_body(self._folder / "request.grpc", _request())
        argv = h2load.command(self._grpc_port, body, "-c2", "-m2", "--rps=50", f"--duration={SLICE_S}")
        while not self._stop.is_set():
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            found = re.search(r"(\d+) done", done.stdout)
            if found is None:
                self._result.failures.append(f"h2load: {done.stdout} {done.stderr}")
                return
            self._result.requests["h2load"] += int(found[1])
            for count, what in re.findall(r"(\d+) (failed|errored|timeout|3xx|4xx|5xx)", done.stdout):
                if int(count):
                    self._result.failures.append(f"h2load: {count} {what}")


def _request() -> protos.PredictRequest:
    request = protos.PredictRequest(model_spec={"name": "scale"})
    request.inputs["x"].CopyFrom(tensors.to_proto(np.array([1.0], np.float32)))
    return request


class Rollouts:
    """The operator: rolls versions out behind the front, and waits for answers in between."""

    def __init__(self, base: Path, schedule: Schedule, result: Result) -> None:
        self._base, self._schedule, self._result = base, schedule, result
        self._stable = self._last = 1

    def begin(self) -> tuple[int, int]:
        """Serve version 1. Returns the REST port and the gRPC port."""
        write_scale_model(self._base / "1", 1.0)
        self._schedule.allow(1)
        record = tfsctl("serve", self._base, "--front", "--detach", "--rest-port", 0, "--grpc-port", 0)
        return record["rest_port"], record["grpc_port"]

    def cycle(self) -> None:
        """Each kind of rollout once."""
        self._promote()
        self._roll_back()
        self._shadow()
        self._ab_test()
        self._record()

    def _promote(self) -> None:
        version = self._new_version()
        self._schedule.allow(version)
        tfsctl("canary", "scale", "--version", version, "--percent", 10)
        self._await_answers()
        self._change_weight(version, 50.0)
        self._await_answers(version)
        begun = self._change_weight(version, 100.0)
        self._await_answers(version)
        self._result.weight_changes_s.append(max(0.0, self._result.last_begun[self._stable] - begun))
        tfsctl("promote", "scale")
        self._schedule.forbid(self._stable)
        self._stable = version
        self._await_answers(version)
        self._result.cycles["promoted"] += 1

    def _roll_back(self) -> None:
        version = self._new_version()
        self._schedule.allow(version)
        tfsctl("canary", "scale", "--version", version, "--percent", 30, "--sticky", "user-id")
        self._await_answers(version)
        tfsctl("rollback", "scale")
        self._schedule.forbid(version)
        self._await_answers(self._stable)
        self._result.cycles["rolled_back"] += 1

    def _shadow(self) -> None:
        """The version is never allowed to answer a client."""
        version = self._new_version()
        tfsctl("shadow", "scale", "--version", version, "--sample", "20%")
        self._await_answers(self._stable)
        found = tfsctl("shadow", "scale", "--stop")
        if found["shadow"]["b"] != version or not found["shadow"]["copies"]:
            self._result.failures.append(f"shadow: {found}")
        self._await_answers(self._stable)
        self._result.cycles["shadows"] += 1

    def _ab_test(self) -> None:
        version = self._new_version()
        self._schedule.allow(version)
        tfsctl("ab", "scale", "stable=50", f"{version}=50", "--sticky", "user-id")
        self._await_answers(version)
        ended = tfsctl("ab", "scale", "--stop")
        self._schedule.forbid(version)
        self._await_answers(self._stable)
        if ended["keys_of_both"] or any(arm["errors"] for arm in ended["arms"]):
            self._result.failures.append(f"A/B test: {ended}")
        self._result.cycles["ab_tests"] += 1

    def _record(self) -> None:
        folder = self._base.parent / "recording"
        recorded = tfsctl("record", "scale", "--to", folder, "--for", "2s", "--answers")
        if not recorded["requests"] or recorded["failed"] or recorded["dropped"]:
            self._result.failures.append(f"recording: {recorded}")
        shutil.rmtree(folder)
        self._result.cycles["recorded"] += recorded["requests"]

    def _new_version(self) -> int:
        """Write the next version, and remove those that are not needed."""
        self._last += 1
        scratch = self._base.parent / "scratch"
        write_scale_model(scratch, float(self._last))
        scratch.rename(self._base / str(self._last))
        for folder in self._base.iterdir():
            if int(folder.name) not in (self._stable, self._last):
                shutil.rmtree(folder)
        return self._last

    def _change_weight(self, version: int, percent: float) -> float:
        """Change the percentage of the running canary as `tfsctl canary` does. Returns when that began."""
        front = operations.find_front("scale")
        begun = time.time()
        operations.start_rollout(front, RolloutPlan("scale", version, (percent,), None, (1,)))
        return begun

    def _await_answers(self, version: int | None = None) -> None:
        """Wait for answers of the checking clients; if a version is given, until one of them is its own."""
        begun, deadline = time.time(), time.monotonic() + STEP_TIMEOUT_S
        before = self._result.checked
        while self._result.checked < before + ANSWERS_OF_A_STEP or (
            version is not None and self._result.last_begun.get(version, 0.0) < begun
        ):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no answers of version {version}")
            time.sleep(0.02)


def tfsctl(*args: object) -> Any:  # noqa: ANN401 - the document of the command
    """Run a command as an operator does; its document. Raises RuntimeError if it fails."""
    argv = [sys.executable, "-m", "tfsctl", *map(str, args), "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: {done.stderr}")
    return json.loads(done.stdout)


def run(seconds: float, folder: Path, *, delay_ms: float = 5.0) -> dict[str, Any]:
    """Run cycles of rollouts until `seconds` have passed, and at least one cycle. Return the figures.

    TFSCTL_STATE_DIR must be set.
    """
    schedule, result = Schedule(), Result()
    rollouts = Rollouts(folder / "scale", schedule, result)
    ports = rollouts.begin()
    started = time.monotonic()
    try:
        load = Load(ports, schedule, result, folder, delay_ms)
        load.start()
        try:
            while not result.cycles or time.monotonic() - started < seconds:
                rollouts.cycle()
        finally:
            load.stop()
    finally:
        tfsctl("stop", "--all")
    return result.document(time.monotonic() - started)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it with a state directory of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--delay", type=float, default=5.0, help="milliseconds between two requests of a client")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TFSCTL_STATE_DIR"] = f"{folder}/state"
        figures = run(60 * options.minutes, Path(folder), delay_ms=options.delay)
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    return 1 if figures["lost"] or figures["wrong_version"] else 0


if __name__ == "__main__":
    sys.exit(main())
