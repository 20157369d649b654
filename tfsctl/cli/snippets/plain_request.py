"""A request as `--dry-run` prints it: address, headers and body."""

from __future__ import annotations

import json
from typing import Any

from tfsctl.cli.snippets import shell
from tfsctl.clients.captured_request import CapturedRequest


def text(request: CapturedRequest) -> str:
    """Address and headers, an empty line, and the body: JSON, or the text format of the message."""
    parts = document(request)
    verb = "POST" if request.transport == "rest" else "gRPC"
    headers = [f"{name}: {value}" for name, value in parts["headers"].items()]
    body = request.payload.decode() if request.transport == "rest" else str(request.payload).rstrip("\n")
    return "\n".join([f"{verb} {parts['url']}", *headers, "", body])


def document(request: CapturedRequest) -> dict[str, Any]:
    """The same as JSON values."""
    headers = {
        header.name: f"{header.prefix}${{{header.variable}}}" if header.variable else header.value
        for header in request.connection.headers
    }
    if request.transport == "rest":
        return {"url": shell.url(request), "headers": headers, "body": _json(request.payload)}
    from google.protobuf.json_format import MessageToDict

    return {
        "url": f"{shell.address(request)}{request.path}",
        "headers": headers,
        "body": MessageToDict(request.payload),
    }


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (RecursionError, ValueError):  # --raw sends any body
        return body.decode("utf-8", "replace")
