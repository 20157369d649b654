"""Clients that close their side of the connection: some wait for their answers, others have left."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import trustme
from counted_runs import counting_flags, metric_sum
from gates import Gate, closed_gate
from graph_models import write_rows_model
from http1_client import connected, post
from http2_client import END_STREAM, Kind, frame, grpc_fields
from http2_client import Client as Http2Client
from model_servers import Served, running_flags
from waiting import eventually, wait_for

from tfsctl.core import protos, tensors
from tfsctl.server.http.exchange import Exchange
from tfsctl.server.http.http1 import Http1Connection
from tfsctl.server.http.listener_state import ListenerState
from tfsctl.server.http.timeouts import HALF_CLOSED_WAIT_S, LATE_FIN_S
from tfsctl.server.limits import Limits
from tfsctl.server.memory_budget import MemoryBudget
from tfsctl.serving_config import messages

GATED = b'{"signature_name": "gated", "instances": [1.5]}'
PATH = "/v1/models/m:predict"
REQUESTS = 40  # more than there are threads for runs
QUEUED = ":tfsctl:server:queued_requests"


@contextmanager
def gated_server(folder: Path, *flags: str) -> Iterator[tuple[Served, Gate]]:
    """A server whose runs wait at a closed gate."""
    with closed_gate(folder / "gate") as gate:
        write_rows_model(folder / "m" / "1", gate=gate)
        with running_flags([*counting_flags(folder / "m", folder), *flags], folder) as server:
            try:
                yield server, gate
            finally:
                if not gate.is_open:
                    gate.open()  # so that the server can end


def gated(number: int) -> bytes:
    """A request whose run waits at the gate. Those with odd numbers are compressed, so that a task serves them."""
    if number % 2:
        return post(gzip.compress(GATED), "Content-Encoding: gzip", path=PATH)
    return post(GATED, path=PATH)


def all_begun_or_queued(server: Served, gate: Gate, context: ssl.SSLContext | None = None) -> int:
    """Wait until the server has read all requests; how many of them run."""
    wait_for(lambda: gate.runs + metric_sum(server, QUEUED, context) == REQUESTS)
    assert gate.runs < REQUESTS
    return gate.runs


@pytest.mark.server
def test_waiting_requests_of_half_closed_connections_are_refused(tmp_path: Path) -> None:
    """Those that run are answered, however long that takes. A connection that is open waits on."""
    with gated_server(tmp_path) as (server, gate), ExitStack() as stack:
        clients = [stack.enter_context(connected(server.rest_port)) for _ in range(REQUESTS)]
        for number, client in enumerate(clients):
            client.send(gated(number))
        begun = all_begun_or_queued(server, gate)
        *half_closed, still_open = clients
        for client in half_closed:
            client.socket.shutdown(socket.SHUT_WR)
        eventually(lambda: metric_sum(server, QUEUED), 1)
        assert gate.runs == begun
        gate.open()
        answers = [client.answer() for client in half_closed]
        assert still_open.answer().status == 200
        refused = [answer for answer in answers if answer.status == 429]
        assert len(refused) == REQUESTS - begun - 1
        assert {answer.headers["retry-after"] for answer in refused} == {"1"}
        assert all(b"has closed its side of the connection" in answer.body for answer in refused)
        assert [answer.status for answer in answers if answer not in refused] == [200] * begun
        assert all(client.is_over() for client in half_closed)


@pytest.mark.server
def test_pipelined_requests_of_a_half_closed_connection_are_answered(tmp_path: Path) -> None:
    """All of them, if no others wait."""
    with gated_server(tmp_path) as (server, gate), connected(server.rest_port) as client:
        gate.open()
        client.send(*map(gated, range(REQUESTS)))
        client.socket.shutdown(socket.SHUT_WR)
        assert [client.answer().json()["predictions"] for _ in range(REQUESTS)] == [[1.5]] * REQUESTS
        assert client.is_over()


def leave_tls(connection: socket.socket) -> None:
    """Send close_notify and FIN."""
    connection.setblocking(False)
    with suppress(ssl.SSLWantReadError):  # the server may answer at once
        cast("ssl.SSLSocket", connection).unwrap()
    connection.close()


@pytest.mark.server
@pytest.mark.parametrize("leave", [socket.socket.close, leave_tls], ids=["FIN", "close_notify"])
def test_waiting_requests_over_tls_are_dropped_at_the_end_of_the_connection(
    tmp_path: Path, leave: Callable[[socket.socket], None]
) -> None:
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    config = messages.SSLConfig(
        server_key=leaf.private_key_pem.bytes().decode(), server_cert=leaf.cert_chain_pems[0].bytes().decode()
    )
    (tmp_path / "ssl.config").write_text(str(config))
    context = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    flags = [f"--ssl_config_file={tmp_path / 'ssl.config'}", "--rest_api_enable_ssl"]
    with gated_server(tmp_path, *flags) as (server, gate):
        connections = []
        for number in range(REQUESTS):
            plain = socket.create_connection((server.host, server.rest_port))
            connections.append(context.wrap_socket(plain, server_hostname=server.host))
            connections[-1].sendall(gated(number))
        begun = all_begun_or_queued(server, gate, context)
        for connection in connections:
            leave(connection)
        eventually(lambda: metric_sum(server, QUEUED, context), 0)
        assert gate.runs == begun


@pytest.mark.server
def test_waiting_calls_of_an_http2_connection_are_dropped_at_its_end(tmp_path: Path) -> None:
    """FIN, also of a connection that the client could still read."""
    call = protos.PredictRequest()
    call.model_spec.name, call.model_spec.signature_name = "m", "gated"
    call.inputs["x"].CopyFrom(tensors.to_proto(np.array([1.5], np.float32)))
    raw = call.SerializeToString()
    with gated_server(tmp_path) as (server, gate):
        client = Http2Client(server.grpc_port)
        for _ in range(REQUESTS):
            stream = client.start(grpc_fields())
            client.send(frame(Kind.DATA, END_STREAM, stream, b"\0" + len(raw).to_bytes(4, "big") + raw))
        begun = all_begun_or_queued(server, gate)
        client.socket.shutdown(socket.SHUT_WR)
        eventually(lambda: metric_sum(server, QUEUED), 0)
        client.close()
        assert gate.runs == begun


class FakeLoop:
    """A loop whose time the test sets."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._scheduled: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        """The time in seconds."""
        return self.now_s

    def call_later(self, delay_s: float, callback: Callable[..., None], *arguments: object) -> None:
        """Call later, while time passes."""
        self._scheduled.append((self.now_s + delay_s, partial(callback, *arguments)))

    def call_soon(self, callback: Callable[..., None], *arguments: object) -> None:
        """Call while time passes."""
        self.call_later(0, callback, *arguments)

    def sleep(self, delay_s: float) -> None:
        """Let time pass."""
        self.now_s += delay_s
        due, self._scheduled = self._scheduled, []
        for at_s, callback in due:
            if at_s <= self.now_s:
                callback()
            else:
                self._scheduled.append((at_s, callback))


class FakeRun:
    """A run of a request."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange, self.is_waiting, self.errors = exchange, True, list[object]()

    def settle(self, outcome: object) -> None:
        """Record the outcome."""
        self.is_waiting = False
        self.errors.append(outcome)


class FakeConnection:
    """A connection with a request that was read, in several pieces, and waits."""

    def __init__(self, pieces: int) -> None:
        self.loop = FakeLoop()
        self.runs: list[FakeRun] = []
        state = ListenerState(self._serve, cast("asyncio.AbstractEventLoop", self.loop), 1, MemoryBudget(10**6))
        self.protocol = Http1Connection(state, Limits(), 1, "")
        self.protocol.connection_made(cast("Any", None))
        request = post(GATED, path=PATH)
        for at in range(0, len(request), size := -(-len(request) // pieces)):
            self.loop.sleep(5)
            self.protocol.data_received(request[at : at + size])

    def _serve(self, exchange: Exchange) -> None:
        exchange.run = FakeRun(exchange)
        self.runs.append(exchange.run)

    @property
    def is_refused(self) -> bool:
        """Whether the run of the request was settled."""
        return bool(self.runs[0].errors)


@pytest.mark.parametrize("pieces", [1, 2])
def test_a_request_is_refused_at_once_if_its_client_closes_late(pieces: int) -> None:
    """Late is a while after the last bytes, whenever the first ones came."""
    late, early = FakeConnection(pieces), FakeConnection(pieces)
    for connection, fin_s in ((late, 2 * LATE_FIN_S), (early, LATE_FIN_S / 2)):
        connection.loop.sleep(fin_s)
        assert connection.protocol.eof_received()
        connection.loop.sleep(0)
    assert (late.is_refused, early.is_refused) == (True, False)
    early.loop.sleep(HALF_CLOSED_WAIT_S)
    assert early.is_refused


def test_a_request_is_not_refused_for_the_time_before_it_waits() -> None:
    """The conversion of a large body may take seconds."""
    connection = FakeConnection(1)
    connection.runs[0].is_waiting = False
    assert connection.protocol.eof_received()
    connection.loop.sleep(0)
    connection.runs[0].is_waiting = True
    connection.loop.sleep(HALF_CLOSED_WAIT_S)
    assert not connection.is_refused
    connection.loop.sleep(HALF_CLOSED_WAIT_S)
    assert connection.is_refused
