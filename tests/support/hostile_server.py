"""A REST model server, in a thread of the test, whose answers contain terminal escapes or are far too large."""

from __future__ import annotations

import gzip
import http.server
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from http_handlers import serving

from tfsctl.core.inference import METHODS

# Sets a window title and the clipboard (OSC), colours, clears (CSI), C1 CSI, bidi override and isolate, BEL, BS, DEL, CR.
HOSTILE = "\x1b]0;PWNED\x07\x1b[31mRED\x1b[2J\x1b]52;c;ZWNo\x07\x9b31m\u202e\u2066\x7f\r\x08[red]m[/red]"
UNSAFE = ("\x1b]", "\x1b[31m", "\x1b[2J", "\x9b", "\u202e", "\u2066", "\x7f", "\x07", "\x08", "\r")


def unsafe_in(text: str) -> list[str]:
    """The unsafe sequences of HOSTILE that a text contains."""
    return [sequence for sequence in UNSAFE if sequence in text]


def _tensor(dtype: str) -> dict[str, Any]:
    return {"dtype": dtype, "tensor_shape": {"dim": [{"size": "-1"}], "unknown_rank": False}, "name": f"x{HOSTILE}"}


def metadata(output: str = f"y{HOSTILE}") -> dict[str, Any]:
    """The metadata of a model with one string input and one string output, and signatures with hostile names."""
    default = {
        "inputs": {"x": _tensor("DT_STRING")},
        "outputs": {output: _tensor("DT_STRING")},
        "method_name": f"tensorflow/serving/predict{HOSTILE}",
    }
    other = default | {"inputs": {f"z{HOSTILE}": _tensor(f"DT_X{HOSTILE}")}}
    of_method = {f"{method}{HOSTILE}": default | {"method_name": f"tensorflow/serving/{method}"} for method in METHODS}
    return {
        "model_spec": {"name": f"m{HOSTILE}", "signature_name": "", "version": "1"},
        "metadata": {
            "signature_def": {"signature_def": {"serving_default": default, f"s{HOSTILE}": other, **of_method}}
        },
    }


def _status() -> dict[str, Any]:
    reason = {"error_code": f"UNKNOWN{HOSTILE}", "error_message": f"why{HOSTILE}"}
    return {"model_version_status": [{"version": "1", "state": f"END{HOSTILE}", "status": reason}]}


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with hostile text; a model named `refused`, `deep`, `endless` or `bomb` answers as it is named."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer metadata and status."""
        self._answer(metadata() if self.path.endswith("/metadata") else _status())

    def do_POST(self) -> None:
        """Answer predict, classify and regress."""
        self.rfile.read(int(self.headers["Content-Length"]))
        if "/refused" in self.path:
            self._answer({"error": f"no{HOSTILE}\nhint: second line"}, status=400)
        elif "/deep" in self.path:
            self._body(b'{"outputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
        elif "/nested" in self.path:
            self._body(b'{"outputs":' + b"[" * 900 + b"]" * 900 + b"}")
        elif "/bomb" in self.path:
            self._body(gzip.compress(b" " * (8 << 20)), encoding="gzip")
        elif "/layers" in self.path:
            self._body(gzip.compress(gzip.compress(b" " * (8 << 20))), encoding="gzip, gzip")
        elif "/endless" in self.path:
            self._endless()
        elif self.path.endswith(":classify"):
            self._answer({"results": [[[f"label{HOSTILE}", 0.5]]]})
        elif self.path.endswith(":regress"):
            self._answer({"results": [0.5]})
        else:
            self._answer({"outputs": [f"text{HOSTILE}"]})

    def _answer(self, document: dict[str, Any], *, status: int = 200) -> None:
        self._body(json.dumps(document, ensure_ascii=False).encode(), status=status)

    def _body(self, body: bytes, *, status: int = 200, encoding: str = "") -> None:
        self.send_response(status, f"reason{HOSTILE}".replace("\r", "").encode("ascii", "ignore").decode())
        self.send_header("Content-Length", str(len(body)))
        if encoding:
            self.send_header("Content-Encoding", encoding)
        self.end_headers()
        self.wfile.write(body)

    def _endless(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while True:
                self.wfile.write(b"100000\r\n" + b" " * (1 << 20) + b"\r\n")
        except OSError:  # the client closed the connection
            self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""


@contextmanager
def hostile_server() -> Iterator[int]:
    """Start the server; yields its port."""
    with serving(Handler) as port:
        yield port
