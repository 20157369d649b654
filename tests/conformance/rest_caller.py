"""Sends recorded REST requests to a server, to the byte as they were sent to TensorFlow Serving."""

from __future__ import annotations

import http.client
import socket
from dataclasses import dataclass

from recorded_cases import RestCase

TIMEOUT_S = 240.0


@dataclass(frozen=True, slots=True)
class RestReply:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def send_request(host: str, port: int, case: RestCase) -> RestReply:
    """Send one request on a connection of its own. Raises OSError or http.client.HTTPException without an answer."""
    with socket.create_connection((host, port), timeout=TIMEOUT_S) as connection:
        connection.sendall(request_bytes(case, f"{host}:{port}"))
        response = http.client.HTTPResponse(connection, method=case.method)
        try:
            response.begin()
            return RestReply(
                response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
            )
        finally:
            response.close()


def request_bytes(case: RestCase, host: str) -> bytes:
    """The request as it goes over the wire; a body without a recorded length gets one."""
    headers = [("Host", host)]
    named = {name.lower() for name, _ in case.headers}
    if case.body is not None and not named & {"content-length", "transfer-encoding"}:
        headers.append(("Content-Length", str(len(case.body))))
    lines = [f"{case.method} {case.path} HTTP/{case.http_version}"]
    lines += [f"{name}: {value}" for name, value in (*headers, *case.headers)]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1") + (case.body or b"")
