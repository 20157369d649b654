"""Small predict requests that arrive in one piece are served without a task, and behave like all others."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from counted_runs import counting_flags, graph_runs, metric_sum
from model_servers import Served, running_flags
from rest_requests import TIMEOUT_S
from scale_models import write_scale_model
from waiting import eventually

SLOW_MATRIX = 2500  # hundreds of milliseconds


@contextmanager
def serving(folder: Path, *flags: str, matmul_size: int = 0) -> Iterator[Served]:
    """A server of a model that doubles its input, with metrics."""
    write_scale_model(folder / "m" / "1", 2.0, matmul_size=matmul_size)
    with running_flags([*counting_flags(folder / "m", folder), *flags], folder) as server:
        yield server


def request(*values: float) -> bytes:
    """A whole request."""
    body = b'{"instances": [%b]}' % b", ".join(b"%.1f" % value for value in values)
    return b"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def connect(server: Served) -> socket.socket:
    """A connection."""
    return socket.create_connection((server.host, server.rest_port), timeout=TIMEOUT_S)


def read_answers(connection: socket.socket, count: int) -> list[tuple[bytes, bytes]]:
    """The status lines and bodies of the next answers."""
    answers = []
    with connection.makefile("rb") as stream:
        for _ in range(count):
            status, length = stream.readline().strip(), 0
            while (line := stream.readline()) != b"\r\n":
                if line.startswith(b"content-length: "):
                    length = int(line[16:])
            answers.append((status, stream.read(length)))
    return answers


@pytest.mark.server
@pytest.mark.parametrize("rows", [1, 300], ids=["small answers", "answers that fill the socket's buffers"])
def test_pipelined_requests_are_answered_in_order(tmp_path: Path, rows: int) -> None:
    """Also if the client reads its answers late."""
    values = [float(number) for number in range(1, 2001)]
    with serving(tmp_path) as server, connect(server) as connection:
        sender = threading.Thread(
            target=connection.sendall, args=[b"".join(request(*[value] * rows) for value in values)]
        )
        sender.start()
        answers = read_answers(connection, len(values))
        sender.join()
    assert {status for status, _ in answers} == {b"HTTP/1.1 200 OK"}
    expected = [", ".join([f"{2 * value}"] * rows).encode() for value in values]
    assert [body.partition(b"[")[2].partition(b"\n")[0] for _, body in answers] == expected


@pytest.mark.server
@pytest.mark.parametrize("end", ["reset", "FIN"])
def test_requests_of_clients_that_left_are_dropped(tmp_path: Path, end: str) -> None:
    """They do not run and do not count as waiting. The next request does not wait for them."""
    with serving(tmp_path, matmul_size=SLOW_MATRIX) as server:
        with ExitStack() as stack:
            connections = [stack.enter_context(connect(server)) for _ in range(300)]
            for connection in connections:
                if end == "reset":
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.sendall(request(1.0))
            read_answers(connections[0], 1)
        eventually(lambda: metric_sum(server, ":tfsctl:server:queued_requests"), 0)
        assert graph_runs(server) < 50
        with connect(server) as other:
            other.sendall(request(2.0))
            assert b"4.0" in read_answers(other, 1)[0][1]


@pytest.mark.server
def test_bodies_above_the_limit_are_refused(tmp_path: Path) -> None:
    with serving(tmp_path, "--max_body_bytes=100") as server, connect(server) as connection:
        connection.sendall(request(1.0) + request(*[1.0] * 50))
        assert [status for status, _ in read_answers(connection, 2)] == [
            b"HTTP/1.1 200 OK",
            b"HTTP/1.1 413 Request Entity Too Large",
        ]
