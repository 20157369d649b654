"""A program that passes for `tensorflow_model_server`: takes its flags, loads for a while, answers model status.

Run as a program it is the fake; imported, `install` puts it on PATH. Variables configure it:
FAKE_LOAD_S (how long it loads), FAKE_STATE (the state it reports), FAKE_DIES (the status it ends with instead).
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

FLAGS = {"port", "rest_api_port", "model_name", "model_base_path", "model_config_file"}


def install(folder: Path) -> Path:
    """Make `folder` hold a `tensorflow_model_server`; returns the program."""
    folder.mkdir(exist_ok=True)
    program = folder / "tensorflow_model_server"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).resolve()} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return program


class Status(http.server.BaseHTTPRequestHandler):
    """Answers every GET with the status of one version."""

    def do_GET(self) -> None:
        """Answer what http.server calls this for."""
        status = {"error_code": "OK", "error_message": ""}
        state = {"version": "1", "state": os.environ.get("FAKE_STATE", "AVAILABLE"), "status": status}
        body = json.dumps({"model_version_status": [state]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Be a model server."""
    flags = dict(argument.removeprefix("--").split("=", 1) for argument in sys.argv[1:])
    if not flags.keys() <= FLAGS:
        raise SystemExit(f"unexpected flags: {sys.argv[1:]}")
    log(f"fake model server: {json.dumps(flags)}")
    if "FAKE_DIES" in os.environ:
        log("Check failed: it cannot live")
        raise SystemExit(int(os.environ["FAKE_DIES"]))
    signal.signal(signal.SIGTERM, terminate)
    time.sleep(float(os.environ.get("FAKE_LOAD_S", "0")))
    http.server.ThreadingHTTPServer(("", int(flags["rest_api_port"])), Status).serve_forever()


def log(line: str) -> None:
    """Write a line of log."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def terminate(_number: int, _frame: FrameType | None) -> None:
    """Exit as a server does on SIGTERM."""
    log("fake model server: terminated")
    os._exit(0)


if __name__ == "__main__":
    main()
