"""How many files of tfsctl/ one request or one command walks through: what a reader has to open to follow it.

    python benchmarks/walk.py [--model BASE_DIRECTORY] [--list]

Counts the distinct files in which a function is entered (importing a module does not count):

- REST and gRPC: on the event loop's thread of the embedded server, for one request on an open connection, whose head
  and length no earlier request had. After the requests before it, the server runs a quick model on that thread. Of
  several such requests, the files that all of them enter, because the server also does other work meanwhile.
- predict TEXT: in all threads of the command.
- predict --file, per row: files in which more functions are entered for 900 rows than for 300, in requests of 100
  rows, one at a time.

MODEL is a model with one string input `text` (default: `text` of matrix_models.py, written to a temporary folder). To
count in another tree, put it on PYTHONPATH and run this file from a folder without a `tfsctl` package.
"""

from __future__ import annotations

import argparse
import http.client
import inspect
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

HOST = "127.0.0.1"
HERE = Path(__file__).parent
READY_S = 120.0
REQUESTS = 8
REQUESTS_BEFORE = 40  # after which a model that is quick runs on the event loop
SHORTEST_TEXT = 300  # bytes; the server expects texts between two powers of two to take about the same time
COMPREHENSIONS = ("<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>")
PREDICT = "/tensorflow.serving.PredictionService/Predict"

Sender = Callable[[str, dict[str, str]], None]


class Walk:
    """Counts the calls per file of a package, in the threads that it is installed in, while `is_on`."""

    def __init__(self, package: Path) -> None:
        self._package = f"{package}{os.sep}"
        self.calls: Counter[str] = Counter()
        self.is_on = False

    def profile(self, frame: FrameType, event: str, _argument: object) -> None:
        """For sys.setprofile."""
        if self.is_on and event == "call":
            code = frame.f_code
            is_function = bool(code.co_flags & inspect.CO_OPTIMIZED)  # not the body of a module or a class
            caller = frame.f_back
            if code.co_name in COMPREHENSIONS and caller is not None and caller.f_code.co_name == "<module>":
                return  # it belongs to importing the module
            if is_function and code.co_filename.startswith(self._package):
                self.calls[code.co_filename.removeprefix(self._package)] += 1


def package_folder() -> Path:
    """The folder of the tfsctl package that is imported here."""
    import tfsctl

    return Path(tfsctl.__file__).parent


def serve(output: str, grpc_port: str, rest_port: str, model: str) -> None:
    """In a child: run the server in this thread, send requests from another, and write the files of a request."""
    walk = Walk(package_folder())

    def ask() -> None:
        senders = {"gRPC": _grpc_sender(int(grpc_port)), "REST": _rest_sender(int(rest_port))}
        files = {}
        for protocol, send in senders.items():
            for number in range(REQUESTS_BEFORE):
                send("w" * (SHORTEST_TEXT + 2 * number), {})
            entered = []
            for number in range(REQUESTS):
                walk.calls.clear()
                walk.is_on = True
                send("w" * (SHORTEST_TEXT + 2 * number + 1), {"x-walk": f"{protocol} {number}"})
                walk.is_on = False
                entered.append(set(walk.calls))
            files[protocol] = sorted(set.intersection(*entered))
        Path(output).write_text(json.dumps(files))
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=ask, daemon=True).start()
    sys.argv = ["tfsctl-model-server", f"--host={HOST}", f"--port={grpc_port}", f"--rest_api_port={rest_port}"]
    sys.argv += ["--model_name=m", f"--model_base_path={model}"]
    sys.setprofile(walk.profile)
    runpy.run_module("tfsctl.server", run_name="__main__")


def command(output: str, *arguments: str) -> None:
    """In a child: run a command of the CLI and write the files that it walks through."""
    walk = Walk(package_folder())
    sys.argv = ["tfsctl", *arguments]
    threading.setprofile(walk.profile)
    sys.setprofile(walk.profile)
    walk.is_on = True
    try:
        runpy.run_module("tfsctl", run_name="__main__")
    finally:
        walk.is_on = False
        Path(output).write_text(json.dumps(dict(walk.calls)))


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        if time.monotonic() > deadline:
            raise SystemExit(f"nobody listens on port {port}")
        time.sleep(0.1)


def _rest_sender(port: int) -> Sender:
    """A function that sends a request over one HTTP/1.1 connection, once the server listens."""
    _wait_for(port)
    connection = http.client.HTTPConnection(HOST, port, timeout=60)

    def send(text: str, headers: dict[str, str]) -> None:
        connection.request("POST", "/v1/models/m:predict", json.dumps({"instances": [text]}), headers)
        connection.getresponse().read()

    return send


def _grpc_sender(port: int) -> Sender:
    """A function that sends a request over one HTTP/2 connection, once the server listens."""
    import grpc

    from tfsctl.core import protos

    _wait_for(port)
    call: Any = grpc.insecure_channel(f"{HOST}:{port}").unary_unary(PREDICT)

    def send(text: str, headers: dict[str, str]) -> None:
        message = protos.PredictRequest()
        message.model_spec.name = "m"
        message.inputs["text"].dtype = 7
        message.inputs["text"].tensor_shape.dim.add(size=1)
        message.inputs["text"].string_val.append(text.encode())
        call(message.SerializeToString(), timeout=60, metadata=tuple(headers.items()))

    return send


def child(kind: str, *arguments: str) -> Any:  # noqa: ANN401 - JSON
    """What `serve` or `command` wrote in a child process."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "files.json")
        argv = [sys.executable, __file__, f"--child={kind}", str(output), *arguments]
        env = {**os.environ, "TFSCTL_STATE_DIR": folder}  # servers of this machine are none of this count
        done = subprocess.run(argv, capture_output=True, text=True, cwd=folder, env=env, check=False)
        if not output.exists():
            raise SystemExit(done.stderr[-2000:])
        return json.loads(output.read_text())


def walks(model: Path, folder: Path) -> dict[str, list[str]]:
    """By what is counted: the files."""
    grpc_port, rest_port = _free_ports()
    served = child("serve", str(grpc_port), str(rest_port), str(model))
    found = {f"{protocol} request": served[protocol] for protocol in ("REST", "gRPC")}
    flags = [f"--host={HOST}", f"--port={grpc_port}", f"--rest_api_port={rest_port}"]
    flags += ["--model_name=m", f"--model_base_path={model}"]
    with subprocess.Popen(
        [sys.executable, "-m", "tfsctl.server", *flags],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            _wait_for(rest_port)
            target = ["--host", HOST, "--port", str(rest_port), "--model", "m", "--rest"]
            found["predict TEXT"] = sorted(child("command", "predict", "a great film", *target))
            calls = []
            for rows in (300, 900):
                file = folder / f"{rows}.txt"
                file.write_text("".join(f"a film of {number} stars\n" for number in range(rows)))
                output = ["--output", str(folder / f"{rows}.jsonl"), "--batch-size", "100", "--concurrency", "1"]
                calls.append(child("command", "predict", "--file", str(file), *output, *target))
            found["row of predict --file"] = sorted(name for name in calls[1] if calls[1][name] > calls[0].get(name, 0))
        finally:
            server.terminate()
    return found


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        one.bind((HOST, 0))
        other.bind((HOST, 0))
        return one.getsockname()[1], other.getsockname()[1]


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--list", action="store_true", help="also print the files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = options.model
        if model is None:
            subprocess.run([sys.executable, str(HERE / "matrix_models.py"), scratch], check=True, capture_output=True)
            model = folder / "text"
        found = walks(model.resolve(), folder)
    print(f"files of {package_folder()}")
    for what, files in found.items():
        print(f"{what:24} {len(files):4}")
        if options.list:
            print("".join(f"    {file}\n" for file in files), end="")


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].startswith("--child="):
        run: Callable[..., None] = serve if sys.argv[1] == "--child=serve" else command
        run(*sys.argv[2:])
    else:
        main()
