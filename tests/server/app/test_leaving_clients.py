"""Clients that leave at each stage of a request, over HTTP/1.1 and HTTP/2: the server keeps nothing for them."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from counted_runs import counting_flags, metric_sum
from gates import Gate, closed_gate
from graph_models import write_rows_model
from http1_client import CHUNKED, post
from http2_client import (
    END_HEADERS,
    END_STREAM,
    PREFACE,
    Client,
    Kind,
    Setting,
    frame,
    grpc_fields,
    reset,
    settings,
    stateless,
)
from model_servers import Served, running_flags
from rest_requests import post as answer_to
from waiting import eventually, wait_for

from tfsctl.core import protos, tensors

pytestmark = pytest.mark.server

PATH = "/v1/models/m:predict"
GATED = b'{"signature_name": "gated", "instances": [1.5]}'
LARGE = json.dumps({"signature_name": "any", "instances": [1.5] * 200_000}).encode()
GAUGES = ("queued_requests", "queued_bytes", "bodies_waiting_for_memory", "held_bytes", "connections")
IDLE = [0, 0, 0, 0, 1]  # the connection that reads the gauges


def grpc_body(size: int, signature: str) -> bytes:
    """The body of a Predict call whose input has `size` values."""
    request = protos.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "m", signature
    request.inputs["x"].CopyFrom(tensors.to_proto(np.full(size, 1.5, np.float32)))
    raw: bytes = request.SerializeToString()
    return b"\0" + len(raw).to_bytes(4, "big") + raw


def call_frames(stream: int, body: bytes, *, end: bool = True) -> bytes:
    """The frames of a call, without END_STREAM if it does not end."""
    frames = frame(Kind.HEADERS, END_HEADERS, stream, stateless(grpc_fields()))
    for start in range(0, len(body), 16_384):
        is_last = start + 16_384 >= len(body)
        frames += frame(Kind.DATA, END_STREAM * (end and is_last), stream, body[start : start + 16_384])
    return frames


def http2(frames: bytes) -> bytes:
    """A connection that begins with these frames, and takes ten bytes of each response."""
    return PREFACE + settings({Setting.INITIAL_WINDOW_SIZE: 10}) + frames


HTTP1 = {
    "request line": b"POST /v1/models",
    "large head": b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nx-long: " + b"a" * 50_000,
    "body": post(LARGE, path=PATH)[:-400_000],
    "chunk": b"POST %b HTTP/1.1\r\nHost: x\r\n%b\r\n\r\n%x\r\n" % (PATH.encode(), CHUNKED.encode(), len(LARGE))
    + LARGE[:-9],
    "run": post(GATED, path=PATH),
    "response": post(LARGE, path=PATH) * 3,
}
HTTP2 = {
    "preface": PREFACE[:10],
    "frame header": http2(b"\0\0"),
    "header block": http2(frame(Kind.HEADERS, 0, 1, stateless(grpc_fields())[:20])),
    "body": http2(call_frames(1, grpc_body(15_000, "any")[:50_000], end=False)),
    "DATA frame": http2(call_frames(1, grpc_body(15_000, "any"))[:40_000]),
    "runs": http2(b"".join(call_frames(stream, grpc_body(1, "gated")) for stream in range(1, 41, 2))),
    "responses": http2(b"".join(call_frames(stream, grpc_body(5000, "any")) for stream in range(1, 7, 2))),
}


def leave_with_reset(connection: socket.socket) -> None:
    """Reset the connection."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


@pytest.fixture
def gated(tmp_path: Path) -> Iterator[tuple[Served, Gate]]:
    """A server with a metrics page, and the gate that its runs of `gated` wait at."""
    with closed_gate(tmp_path / "gate") as gate:
        write_rows_model(tmp_path / "m" / "1", gate=gate)
        with running_flags(counting_flags(tmp_path / "m", tmp_path), tmp_path) as server:
            try:
                yield server, gate
            finally:
                if not gate.is_open:
                    gate.open()  # so that the server can end


def gauges(server: Served) -> list[int]:
    """What the server holds for its clients."""
    return [metric_sum(server, f":tfsctl:server:{name}") for name in GAUGES]


@pytest.mark.parametrize("leave", [socket.socket.close, leave_with_reset], ids=["FIN", "RST"])
def test_nothing_is_kept_for_clients_that_have_left(
    gated: tuple[Served, Gate], leave: Callable[[socket.socket], None]
) -> None:
    """All gauges return to zero, and others are served."""
    server, gate = gated
    connections = []
    for port, stages in ((server.rest_port, HTTP1), (server.grpc_port, HTTP2)):
        for sent in stages.values():
            connections.append(socket.create_connection((server.host, port)))
            connections[-1].settimeout(1)
            with suppress(TimeoutError):  # the server does not read all
                connections[-1].sendall(sent)
    wait_for(lambda: gauges(server)[0] and gauges(server)[-1] == len(connections) + 1)
    gate.wait_for_run()
    for connection in connections:
        leave(connection)
    gate.open()
    eventually(lambda: gauges(server), IDLE)
    assert answer_to(server, "m:predict", GATED)[0] == 200


def test_calls_of_a_connection_are_cancelled_one_by_one(gated: tuple[Served, Gate]) -> None:
    """RST_STREAM after the headers, in the body, and during the run. Later calls of the connection are answered."""
    server, gate = gated
    client = Client(server.grpc_port)
    stream = client.start(grpc_fields())
    client.send(reset(stream))
    stream = client.start(grpc_fields())
    client.send(frame(Kind.DATA, 0, stream, grpc_body(5000, "any")[:9000]), reset(stream))
    streams = []
    for _ in range(20):
        streams.append(client.start(grpc_fields()))
        client.send(frame(Kind.DATA, END_STREAM, streams[-1], grpc_body(1, "gated")))
    gate.wait_for_run()
    wait_for(lambda: gauges(server)[0])
    client.send(*map(reset, streams))
    eventually(lambda: gauges(server)[:-1], IDLE[:-1])
    gate.open()
    stream = client.start(grpc_fields())
    client.send(frame(Kind.DATA, END_STREAM, stream, grpc_body(1, "gated")))
    assert client.answer(stream).trailers == {"grpc-status": "0"}
    client.close()
