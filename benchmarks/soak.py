"""Full load for minutes while versions come and go: does a request fail, does memory grow?

    python benchmarks/soak.py [--minutes 10] [--swap-every 10] [--model amazon_review/1795344751/..] [--connections 16]
        [--minute-seconds 60] [--flat 0.03] [--no-memory]

Serves a model whose answer tells its version, and MODEL too if given (the base directory of a text model: one string
input `text` [batch]). wrk loads REST and h2load gRPC (Debian: wrk, nghttp2-client) with the given number of connections
each, while two more clients, one of each protocol, check every answer: right, and never of an older version than the one
before. Every few seconds a new version is published and the one before the last is removed. Meanwhile one client floods
the server (pipelined and reset requests, compressed bombs, large heads, noise), and a hundred send or read very slowly.
Prints, for every minute, the requests, the failures, the peak of the resident memory, and the level of the private
memory after the minute: without the pages of files (mostly TensorFlow's library), which the kernel drops when others
need memory. For the level, no version is published until the newest ones alone are served and have been under load for
some seconds: TensorFlow takes 10 MB more for the text model when it runs. Then the load and the attacks pause until the
server has answered what had arrived, and no thread of it runs; slow clients stay connected. The first minute is the
warm-up, in which everything happens for the first time. The exit status is 1 if a good request failed, or if the level
after a later minute differs from that after the first one by more than 3 % (`--flat`). `--minute-seconds 10` makes
every minute that short, and `--no-memory` does not wait for the level of the memory.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import h2load

from tfsctl.core import protos

sys.path.append(str(Path(__file__).parents[1] / "tests" / "support"))

from attackers import Attackers
from grpc_requests import PREDICT
from model_servers import Served, own_mb, running_server
from scale_models import write_scale_model

TEXT = "This movie is great! :D"
SAMPLE_S, PERIOD_SAMPLES, MAX_WAIT_S = 0.05, 100, 120.0  # of the memory level: a period takes five seconds
QUIET_PERIODS = 3  # in a row: the server gives free memory back when it was idle for ten seconds
FIRST_RUNS_S = 5.0  # of load on a new version, after which it takes all the memory that it needs


@dataclass
class Seen:
    """What a checking client has seen, or a load generator counted."""

    requests: int = 0
    failures: list[str] = field(default_factory=list)

    def fail(self, what: str) -> None:
        """Note a failure."""
        self.failures.append(what)


@dataclass
class Signals:
    """What the main thread tells the others: to stop, and whether they may ask now."""

    stop: threading.Event = field(default_factory=threading.Event)
    resumed: threading.Event = field(default_factory=threading.Event)


class Versions:
    """The published versions: a new one each time, and the one before the last goes."""

    def __init__(self, scale: Path, model: Path | None, text: Path) -> None:
        self._scale, self._model, self._text = scale, model, text
        self._numbers = itertools.count(1)
        self.newest = 0
        self.paused = threading.Lock()
        self.swap()

    def swap(self) -> None:
        """Publish the next version, whole at once, unless `paused` is held; remove all but it and the one before."""
        with self.paused:
            self._swap()

    def _swap(self) -> None:
        self.newest = number = next(self._numbers)
        scratch = self._scale.parent / "scratch"
        write_scale_model(scratch / "scale", float(number))
        (scratch / "scale").rename(_made(self._scale) / str(number))
        shutil.rmtree(self._scale / str(number - 2), ignore_errors=True)
        if self._model is not None:
            newest = max(
                (path for path in self._model.iterdir() if path.name.isdigit()), key=lambda path: int(path.name)
            )
            shutil.copytree(newest, scratch / "text")
            (scratch / "text").rename(_made(self._text) / str(number))
            shutil.rmtree(self._text / str(number - 2), ignore_errors=True)


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def check_rest(server: Served, seen: Seen, signals: Signals) -> None:
    """Ask for 1.0 over REST, one request after another, until told to stop."""
    connection = http.client.HTTPConnection(server.host, server.rest_port, timeout=30)

    def ask() -> float:
        connection.request("POST", "/v1/models/scale:predict", b'{"instances": [1.0]}')
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise ValueError(body.decode(errors="replace"))
        return float(json.loads(body)["predictions"][0])

    with closing(connection):
        _check(ask, seen, signals)


def check_grpc(server: Served, seen: Seen, signals: Signals) -> None:
    """The same over gRPC."""
    request = protos.PredictRequest(model_spec={"name": "scale"})
    request.inputs["x"].CopyFrom(_floats(1.0))
    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}") as channel:
        predict = channel.unary_unary(
            PREDICT,
            request_serializer=protos.PredictRequest.SerializeToString,
            response_deserializer=protos.PredictResponse.FromString,
        )
        _check(lambda: float(predict(request, timeout=30).outputs["y"].float_val[0]), seen, signals)


def _check(ask: Callable[[], float], seen: Seen, signals: Signals) -> None:
    newest = 0.0
    while not signals.stop.is_set():
        signals.resumed.wait()
        seen.requests += 1
        try:
            answer = ask()
        except (OSError, http.client.HTTPException, ValueError, grpc.RpcError) as error:
            seen.fail(repr(error))
            continue
        if answer < newest or not answer.is_integer():
            seen.fail(f"{answer} after {newest}")
        newest = answer


def _floats(*values: float) -> protos.TensorProto:
    tensor = protos.TensorProto(dtype=1, float_val=values)
    tensor.tensor_shape.dim.add(size=len(values))
    return tensor


class Load:
    """Run wrk and h2load again and again."""

    def __init__(self, server: Served, model: str, folder: Path, connections: int) -> None:
        script = folder / "post.lua"
        message = protos.PredictRequest(model_spec={"name": model})
        instance = "1.0"
        if model == "scale":
            message.inputs["x"].CopyFrom(_floats(1.0))
        else:
            instance = json.dumps(TEXT)
            message.inputs["text"].CopyFrom(protos.TensorProto(dtype=7, string_val=[TEXT.encode()]))
            message.inputs["text"].tensor_shape.dim.add(size=1)
        body = h2load.write_body(folder / "request.grpc", message)
        script.write_text(f"wrk.method = 'POST'\nwrk.body = '{{\"instances\": [{instance}]}}'\n")
        rest = f"http://{server.host}:{server.rest_port}/v1/models/{model}:predict"
        self._wrk = ["wrk", "-t1", f"-c{connections}", f"-s{script}", "--timeout=30s", rest]
        self._h2load = h2load.command(server.grpc_port, body, f"-c{connections}", "-m1")

    def run(self, seconds: float, seen: Seen) -> None:
        """Load the server, and count."""
        argvs = [[*self._wrk, f"-d{seconds:g}s"], [*self._h2load, f"--duration={seconds:g}"]]
        running = [
            subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for argv in argvs
        ]
        of_wrk, of_h2load = (process.communicate()[0] for process in running)
        if any(process.returncode for process in running):
            seen.fail(of_wrk + of_h2load)
        seen.requests += sum(
            int(n) for n in re.findall(r"(\d+) requests in|(\d+) done", of_wrk + of_h2load) for n in n if n
        )
        for bad in re.findall(r"Non-2xx.*|Socket errors.*", of_wrk):
            seen.fail(f"wrk: {bad}")
        for count, what in re.findall(r"(\d+) (failed|errored|timeout|4xx|5xx)", of_h2load):
            if int(count):
                seen.fail(f"h2load: {count} {what}")


def wait_until_served(server: Served, models: Iterable[str], version: int) -> bool:
    """Wait until this version of each model is the only one that is loaded, at most two minutes. Returns False if it is not."""
    end_s = time.monotonic() + MAX_WAIT_S
    while any(_loaded_versions(server, model) != [version] for model in models):
        if time.monotonic() > end_s:
            return False
        time.sleep(1.0)
    return True


def _loaded_versions(server: Served, model: str) -> list[int]:
    with urllib.request.urlopen(f"http://{server.host}:{server.rest_port}/v1/models/{model}") as response:
        statuses = json.load(response)["model_version_status"]
    return [int(status["version"]) for status in statuses if status["state"] != "END"]


def level_mb(pid: int) -> float:
    """The private memory of a server that has nothing to do: the least within the last of three quiet periods in a row.

    After two minutes, the server counts as quiet in any case.
    """
    end_s = time.monotonic() + MAX_WAIT_S
    quiet_periods = 0
    while True:
        samples: list[tuple[bool, float]] = []
        while len(samples) < PERIOD_SAMPLES:
            time.sleep(SAMPLE_S)
            samples.append((_is_running(pid), own_mb(pid)))
        is_quiet = sum(running for running, _ in samples) <= PERIOD_SAMPLES // 10  # slow clients send on
        quiet_periods = quiet_periods + 1 if is_quiet else 0
        if quiet_periods == QUIET_PERIODS or time.monotonic() > end_s:
            return min(mb for _, mb in samples)


def _is_running(pid: int) -> bool:
    """Whether a thread of a process runs or waits for a CPU."""
    for file in Path(f"/proc/{pid}/task").glob("*/stat"):
        with suppress(OSError):  # the thread has ended
            if file.read_text().rpartition(")")[2].split()[0] == "R":
                return True
    return False


def restart_peak(pid: int) -> None:
    """Forget the peak of a process's memory."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # https://man7.org/linux/man-pages/man5/proc_pid_clear_refs.5.html


def peak_mb(pid: int) -> float:
    """The peak of a process's memory since `restart_peak`."""
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(kilobytes) * 1024 / 1e6


def main() -> int:
    """Soak, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--swap-every", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--minute-seconds", type=float, default=60.0)
    parser.add_argument("--flat", type=float, default=0.03, metavar="PART")
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        failures, drift = soak(options, Path(scratch))
    return 1 if failures or drift > options.flat else 0


def soak(options: argparse.Namespace, folder: Path) -> tuple[list[str], float]:
    """Serve, load, swap versions and check answers for `options.minutes`.

    Return the failures, and by which part the memory level differed from that of the first minute (0 if `options.memory`
    is false).
    """
    versions = Versions(folder / "scale", options.model, folder / "text")
    models = {"scale": folder / "scale"} | ({"text": folder / "text"} if options.model else {})
    signals = Signals()

    def swap() -> None:
        while not signals.stop.wait(options.swap_every):
            versions.swap()

    levels_mb: list[float] = []
    with running_server(models, folder, flags=["--check_new_versions=auto"]) as server:
        load = Load(server, "text" if options.model else "scale", folder, options.connections)
        checks = [(check_rest, Seen()), (check_grpc, Seen())]
        threads = [threading.Thread(target=check, args=(server, seen, signals)) for check, seen in checks]
        threads.append(threading.Thread(target=swap))
        attackers = Attackers(server, signals.stop)
        threads += attackers.threads
        total = Seen()
        print(f"start: {own_mb(server.pid):.1f} MB", flush=True)
        for thread in threads:
            thread.start()
        try:
            for minute in range(1, options.minutes + 1):
                signals.resumed.set()
                restart_peak(server.pid)
                began, before = time.monotonic(), total.requests + sum(seen.requests for _, seen in checks)
                load.run(options.minute_seconds, total)
                if options.memory:
                    with versions.paused:
                        if not wait_until_served(server, models, versions.newest):
                            print(f"minute {minute}: older versions are still loaded, and count as memory", flush=True)
                        load.run(FIRST_RUNS_S, total)
                        elapsed_s = time.monotonic() - began
                        signals.resumed.clear()
                        with attackers.paused:
                            levels_mb.append(level_mb(server.pid))
                else:
                    elapsed_s = time.monotonic() - began
                    levels_mb.append(own_mb(server.pid))
                requests = total.requests + sum(seen.requests for _, seen in checks) - before
                failures = len(total.failures) + sum(len(seen.failures) for _, seen in checks)
                print(
                    f"minute {minute}: {requests} requests ({requests / elapsed_s:.0f}/s), {failures} failures so far, "
                    f"{attackers.count} attacks, {levels_mb[-1]:.1f} MB (resident peak {peak_mb(server.pid):.0f} MB)",
                    flush=True,
                )
        finally:
            signals.stop.set()
            signals.resumed.set()
            for thread in threads:
                thread.join()
    for _, seen in checks:
        total.requests += seen.requests
        total.failures += seen.failures
    drift = max(abs(mb / levels_mb[0] - 1) for mb in levels_mb) if options.memory else 0.0
    memory = f", memory within {drift:.1%} of the first minute's" if options.memory else ""
    print(f"{total.requests} requests, {len(total.failures)} failures{memory}")
    for failure in total.failures[:20]:
        print(f"FAILURE {failure}")
    return total.failures, drift


if __name__ == "__main__":
    raise SystemExit(main())
