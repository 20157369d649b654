"""Large messages, and bodies that only announce a large size."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import h2.connection
import h2.events
import numpy as np
import pytest
from echo_models import write_echo_model
from grpc_requests import PREDICT, predict_value
from model_servers import Served, running_server
from ports import HOST, free_ports
from rest_requests import rest
from waiting import PATIENCE_S

from tfsctl.core import protos, tensors
from tfsctl.server.app.application import Application
from tfsctl.server.config.flags import Flags
from tfsctl.server.http.exchange import Exchange, Pairs, Tasks
from tfsctl.server.http.http1 import Http1Connection
from tfsctl.server.http.listener import Address, Listener
from tfsctl.server.memory_budget import MemoryBudget

MEGABYTES = 128


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The server, started anew: what it has taken before is in its memory."""
    folder = tmp_path_factory.mktemp("large")
    write_echo_model(folder / "echo" / "7")
    with running_server({"echo": folder / "echo"}, folder) as running:
        yield running


@pytest.fixture
def roomy_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that may hold a large amount of memory for its clients."""
    folder = tmp_path_factory.mktemp("roomy")
    write_echo_model(folder / "echo" / "7")
    flags = [f"--max_held_megabytes={3 * MEGABYTES}"]
    with running_server({"echo": folder / "echo"}, folder, flags=flags) as running:
        yield running


def memory_mb(pid: int) -> int:
    """The memory a process has now."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) // 1024


@pytest.mark.server
def test_messages_may_be_far_larger_than_grpcs_default(roomy_server: Served) -> None:
    """4 MB."""
    array = np.arange(MEGABYTES * 1024 * 256, dtype=np.float32)
    request: Any = protos.PredictRequest()
    request.model_spec.name = "echo"
    request.inputs["x"].CopyFrom(tensors.to_proto(array))
    limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"{roomy_server.host}:{roomy_server.grpc_port}", limits) as channel:
        call = channel.unary_unary(PREDICT, protos.PredictRequest.SerializeToString, protos.PredictResponse.FromString)
        answer = call(request, timeout=240)

    assert np.array_equal(tensors.from_proto(answer.outputs["x"]), array)


@pytest.mark.server
def test_a_declared_length_takes_no_memory(server: Served) -> None:
    """Fifty frames and fifty bodies that announce a gigabyte and bring ten bytes."""
    before = memory_mb(server.pid)
    waiting = [socket.create_connection((server.host, server.rest_port)) for _ in range(50)]
    for connection in waiting:
        connection.sendall(b"POST /v1/models/echo:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n{")
    for _ in range(50):
        assert _status_of(server, b"\x00" + (1_000_000_000).to_bytes(4, "big") + b"0123456789") == "13"

    assert memory_mb(server.pid) - before < 100
    assert rest(server, "POST", "/v1/models/echo:predict", b'{"instances": [1.5]}')[0] == 200
    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}") as channel:
        assert predict_value(channel) == 1.5
    for connection in waiting:
        connection.close()


class Request(Exchange):
    """A request without a connection, which records the answer."""

    answer: tuple[int, bytes] = (0, b"")

    @property
    def _tasks(self) -> Tasks:
        raise NotImplementedError

    async def reply(self, status: int, headers: Pairs, body: bytes, trailers: Pairs = ()) -> None:  # noqa: ARG002
        """Keep the answer."""
        self.answer = status, body

    def start(self, status: int, headers: Pairs) -> None:
        """Not used."""
        raise NotImplementedError(status, headers)

    async def write(self, data: bytes) -> None:
        """Not used."""
        raise NotImplementedError(data)

    async def finish(self, trailers: Pairs) -> None:
        """Not used."""
        raise NotImplementedError(trailers)


def test_bodies_above_2_gib_are_refused() -> None:
    """The rest is not collected."""
    chunk = b"\0" * (1 << 28)

    async def ask() -> tuple[int, bytes]:
        request = Request(
            asyncio.get_running_loop(),
            MemoryBudget(2**40),
            None,
            8501,
            "POST",
            "/v1/models/m:predict",
            {},
        )
        answering = Application(Flags(rest_api_port=8501))(request)
        assert answering is not None
        serving = asyncio.ensure_future(answering)
        while not serving.done():
            request.add(chunk)
            await asyncio.sleep(0)
        return request.answer

    status, body = asyncio.run(ask())
    assert status == 413
    assert b"Received message larger than max (2147483648 vs. 2147483647)" in body


def test_a_body_that_announces_too_much_is_not_waited_for() -> None:
    """Its client is refused before it sends gigabytes."""

    async def ask() -> tuple[int, bytes]:
        path, headers = "/v1/models/m:predict", {b"content-length": b"3000000000"}
        request = Request(asyncio.get_running_loop(), MemoryBudget(2**40), None, 8501, "POST", path, headers)
        answering = Application(Flags(rest_api_port=8501))(request)
        assert answering is not None
        await asyncio.wait_for(answering, timeout=240)
        return request.answer

    status, body = asyncio.run(ask())
    assert status == 413
    assert b"Received message larger than max (3000000000 vs. 2147483647)" in body


def test_large_responses_are_written_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two pieces the event loop serves other connections."""
    body = bytes(range(256)) * (20 * 4096)  # 20 MiB
    written: list[int] = []  # in each iteration of the event loop

    async def reply(exchange: Exchange) -> None:
        writing = asyncio.ensure_future(exchange.reply(200, (), body))
        while not writing.done():
            written.append(0)
            await asyncio.sleep(0)

    def write_large(connection: Http1Connection, *parts: bytes | memoryview) -> None:
        written[-1] += sum(map(len, parts))
        original(connection, *parts)

    async def ask() -> bytes:
        (port,) = free_ports(1)
        listener = Listener(reply, [Address(HOST, port)], max_connections=10)
        await listener.start()
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        received = await reader.readexactly(len(body))
        writer.close()
        await listener.stop()
        return received

    original = Http1Connection.write_large
    monkeypatch.setattr(Http1Connection, "write_large", write_large)
    assert asyncio.run(asyncio.wait_for(ask(), PATIENCE_S)) == body
    assert sum(written) > len(body)
    assert max(written) < 1.5 * 2**20


def _status_of(server: Served, body: bytes) -> str:
    """The grpc-status of a Predict call with this framed message."""
    connection = h2.connection.H2Connection()
    connection.initiate_connection()
    headers = [(":method", "POST"), (":scheme", "http"), (":authority", "x"), (":path", PREDICT)]
    connection.send_headers(1, [*headers, ("content-type", "application/grpc"), ("te", "trailers")])
    connection.send_data(1, body, end_stream=True)
    with socket.create_connection((server.host, server.grpc_port), timeout=240) as wire:
        wire.sendall(connection.data_to_send())
        while True:
            for event in connection.receive_data(wire.recv(65536)):
                if isinstance(event, (h2.events.TrailersReceived, h2.events.ResponseReceived)):
                    status = dict(event.headers or []).get(b"grpc-status")
                    if status is not None:
                        return status.decode()
            wire.sendall(connection.data_to_send())
