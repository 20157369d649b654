"""Single REST requests to a model server, each on a connection of its own."""

from __future__ import annotations

import http.client
import json
import ssl
from contextlib import closing

from model_servers import Served

TIMEOUT_S = 240
ONE = b'{"instances": [1.0]}'


def rest(
    server: Served,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    *,
    context: ssl.SSLContext | None = None,
    port: int = 0,
) -> tuple[int, bytes, dict[str, str]]:
    """One HTTP request: status, body, headers in lower case. Over TLS if there is a context."""
    port = port or server.rest_port
    connection: http.client.HTTPConnection
    if context is None:
        connection = http.client.HTTPConnection(server.host, port, timeout=TIMEOUT_S)
    else:
        connection = http.client.HTTPSConnection(server.host, port, timeout=TIMEOUT_S, context=context)
    with closing(connection):
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read(), {k.lower(): v for k, v in response.getheaders()}


def post(server: Served, path: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """Status and body of a POST to a path below /v1/models/."""
    status, answer, _ = rest(server, "POST", f"/v1/models/{path}", body, headers)
    return status, answer


def predict_one(server: Served, model: str = "hot") -> float | None:
    """The answer of a model with one float output to 1.0; None if it has no answer yet."""
    try:
        status, body = post(server, f"{model}:predict", ONE)
    except OSError:
        return None
    value: float | None = json.loads(body)["predictions"][0] if status == 200 else None
    return value
