"""Single REST requests to a model server, each on a connection of its own."""

from __future__ import annotations

import http.client
import json
from contextlib import closing

from model_servers import Served

ONE = b'{"instances": [1.0]}'


def post(server: Served, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """One REST request on a connection of its own: status and body."""
    with closing(http.client.HTTPConnection(server.host, server.rest_port, timeout=240)) as connection:
        connection.request("POST", f"/v1/models/{path}", body, headers or {})
        response = connection.getresponse()
        return response.status, response.read()


def factor(server: Served, model: str = "hot") -> float | None:
    """What the model makes of 1.0; None when nobody answers yet."""
    try:
        status, body = post(server, f"{model}:predict", ONE)
    except OSError:
        return None
    value: float | None = json.loads(body)["predictions"][0] if status == 200 else None
    return value
