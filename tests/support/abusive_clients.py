"""Clients that wear a server out, and what it must do for the others meanwhile: answer in time, within its memory."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
from grpc_requests import predict_value
from model_servers import Served, cpu_s, own_mb
from ports import HOST
from rest_requests import rest

PROMPT_CPU_S = 3.0  # the server spends less on everything while another waits for an answer, whatever one client does
STALL_S = 1.0  # a server that takes nothing for so long has stopped reading
FIRST = 10  # answers after which the server has what it needs for such requests in memory
_WAIT_S = 240.0


class _Others(threading.Thread):
    """They ask all the time, on both ports, and note how much CPU time the server took until the slowest answer."""

    def __init__(self, server: Served) -> None:
        super().__init__()
        self.slowest_cpu_s = 0.0
        self.count = 0
        self.begun, self.over = threading.Event(), threading.Event()
        self._server = server

    def run(self) -> None:
        """Ask until it is over, and once more then; a wrong answer ends it."""
        with grpc.insecure_channel(f"{self._server.host}:{self._server.grpc_port}") as channel:
            is_last = False
            while not is_last:
                is_last = self.over.is_set()
                start_s = cpu_s(self._server.pid)
                assert predict_value(channel, self.count % 1000) == self.count % 1000
                halfway_s = cpu_s(self._server.pid)
                assert rest(self._server, "GET", "/v1/models/echo")[0] == 200
                end_s = cpu_s(self._server.pid)
                self.count += 1
                if self.begun.is_set():
                    self.slowest_cpu_s = max(self.slowest_cpu_s, halfway_s - start_s, end_s - halfway_s)
                elif self.count == FIRST:
                    self.begun.set()
                time.sleep(0.01)
        self.count = -self.count  # to the end


@contextmanager
def others_are_served(server: Served, *, growth_mb: float) -> Iterator[None]:
    """While the block lasts and after it, others are answered in time, and memory never grows by more than that.

    The server has a model `echo`.
    """
    others = _Others(server)
    others.start()
    assert others.begun.wait(_WAIT_S)
    before_mb = own_mb(server.pid)
    Path(f"/proc/{server.pid}/clear_refs").write_text("5", encoding="ascii")  # its peak begins anew: proc(5)
    start_mb = _peak_mb(server.pid)
    try:
        yield
    finally:
        others.over.set()
        others.join()
    assert others.count < 0, "one of the others was not answered"
    assert others.slowest_cpu_s < PROMPT_CPU_S
    assert _peak_mb(server.pid) < start_mb + growth_mb
    assert own_mb(server.pid) < before_mb + growth_mb


def _peak_mb(pid: int) -> float:
    """The most memory that a process has had, in MB."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


@contextmanager
def deaf(port: int) -> Iterator[socket.socket]:
    """A connection whose other end can send only little that is not read."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(_WAIT_S)
        connection.connect((HOST, port))
        yield connection


def flooded(connection: socket.socket, data: bytes, limit: int) -> int:
    """Send data over and over: how much went before the other end took no more, or closed, or the limit was reached."""
    connection.settimeout(STALL_S)
    view, sent = memoryview(data), 0
    with suppress(TimeoutError, ConnectionError):
        while sent < limit:
            at = sent % len(data)
            sent += connection.send(view[at : at + 65_536])
    return sent
