"""Clients that flood a server or keep it waiting, in threads of their own, while others ask it for answers."""

from __future__ import annotations

import gzip
import itertools
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress

from http2_client import OPEN, PREFACE, frame, message, reset, settings
from model_servers import Served

_SLOW_CLIENTS = 50  # of each kind
_PAUSE_S = 0.05  # between two attacks
_TRICKLE_S = 0.5
_TIMEOUT_S = 5.0
_HEAD = b"POST /v1/models/scale:predict HTTP/1.1\r\nHost: x\r\n"


class Attackers:
    """Threads that attack a server until `stop` is set; `count` is the number of attacks so far.

    No attack is under way while `paused` is held. Slow clients stay.
    """

    def __init__(self, server: Served, stop: threading.Event) -> None:
        self.count = 0
        self.paused = threading.Lock()
        self._server, self._stop = server, stop
        self.threads = [threading.Thread(target=work) for work in (self._flood, self._trickle)]

    def _flood(self) -> None:
        attacks = [
            (self._server.rest_port, _pipelined),
            (self._server.rest_port, _bomb),
            (self._server.rest_port, _large_head),
            (self._server.rest_port, _noise),
            (self._server.grpc_port, _resets),
            (self._server.grpc_port, _unread_answers),
            (self._server.grpc_port, _noise),
        ]
        for port, attack in itertools.cycle(attacks):
            if self._stop.wait(_PAUSE_S):
                return
            with self.paused, suppress(OSError), self._connected(port) as connection:
                for data in attack():
                    connection.sendall(data)
                connection.recv(65_536)
            self.count += 1

    def _trickle(self) -> None:
        """Clients that send a byte now and then: of a head, or of a body that they announced."""
        waiting: list[socket.socket] = []
        with ExitStack() as stack:
            while not self._stop.wait(_TRICKLE_S):
                for first in (_HEAD, _HEAD + b"Content-Length: 1000000\r\n\r\n") * _SLOW_CLIENTS:
                    if len(waiting) < _SLOW_CLIENTS * 2:
                        with suppress(OSError):
                            waiting.append(stack.enter_context(self._connected(self._server.rest_port)))
                            waiting[-1].sendall(first)
                for connection in list(waiting):
                    try:
                        connection.sendall(b"x")
                    except OSError:  # the server had enough of it
                        waiting.remove(connection)
                        connection.close()

    def _connected(self, port: int) -> socket.socket:
        return socket.create_connection((self._server.host, port), timeout=_TIMEOUT_S)


def _pipelined() -> Iterator[bytes]:
    body = b'{"instances": [1.0]}'
    yield (_HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body) * 500


def _bomb() -> Iterator[bytes]:
    body = gzip.compress(b'{"instances": [' + b"1," * 1_000_000 + b"1]}", 1)
    yield _HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def _large_head() -> Iterator[bytes]:
    yield _HEAD + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 100) for i in range(2000)) + b"\r\n"


def _noise() -> Iterator[bytes]:
    yield random.randbytes(10_000)


def _resets() -> Iterator[bytes]:
    yield PREFACE + settings({})
    for number in range(1, 1000, 2):
        yield OPEN.replace(b"\0\0\0\x01", number.to_bytes(4, "big"), 1) + reset(number)


def _unread_answers() -> Iterator[bytes]:
    """Calls whose answers no window lets through; the client leaves with all of them."""
    yield PREFACE + settings({4: 0})
    body = message([1.0] * 4_000, "scale")
    for number in range(1, 21, 2):
        yield OPEN.replace(b"\0\0\0\x01", number.to_bytes(4, "big"), 1) + frame(0, 1, number, body)
