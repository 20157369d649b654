"""A request as it is: what `--dry-run` prints."""

from __future__ import annotations

import json
from typing import Any

from tfsctl.cli.snippets import shell
from tfsctl.clients.captured_request import CapturedRequest


def shown(call: CapturedRequest) -> str:
    """Where it goes, its headers, and after an empty line its body: JSON, or the text form of the message."""
    what = document(call)
    verb = "POST" if call.transport == "rest" else "gRPC"
    headers = [f"{name}: {value}" for name, value in what["headers"].items()]
    body = call.payload.decode() if call.transport == "rest" else str(call.payload).rstrip("\n")
    return "\n".join([f"{verb} {what['url']}", *headers, "", body])


def document(call: CapturedRequest) -> dict[str, Any]:
    """The same as JSON values."""
    headers = {
        header.name: f"{header.prefix}${{{header.variable}}}" if header.variable else header.value
        for header in call.connection.headers
    }
    if call.transport == "rest":
        return {"url": shell.url(call), "headers": headers, "body": _json(call.payload)}
    from google.protobuf.json_format import MessageToDict

    where = call.host if call.host.startswith("unix:") else shell.address(call)
    return {"url": f"{where}{call.path}", "headers": headers, "body": MessageToDict(call.payload)}


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:  # --raw sends what it is given
        return body.decode("utf-8", "replace")
