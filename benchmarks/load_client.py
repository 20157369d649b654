"""A load generator for `matrix.py`: many connections, each with one request at a time, in a process of its own.

    python benchmarks/load_client.py PROTOCOL PORT CONNECTIONS SECONDS WARM_UP_SECONDS REQUESTS_FILE

REQUESTS_FILE is a pickle of [(head, body), …]: for REST the head and body of HTTP/1.1 requests, for gRPC an HPACK block
and a framed message. Each connection goes through them from a place of its own. Prints a JSON object: `requests`,
`errors`, `seconds`, `p50_ms`, `p99_ms`. wrk has no HTTP/2, and h2load sends the same body each time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pickle  # the file is written by matrix.py
import re
import resource
import time
from collections import deque
from pathlib import Path
from typing import cast

import hpack
import numpy as np
import uvloop

HOST = "127.0.0.1"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
END_STREAM, ACK, END_HEADERS = 1, 1, 4
MAX_WINDOW, FRAME_BYTES = 2**31 - 1, 16_384
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

Request = tuple[bytes, bytes]


class Load:
    """What all connections share: the requests, the clock, and the results."""

    def __init__(self, requests: list[Request]) -> None:
        self.requests = requests
        self.latencies: list[float] = []
        self.errors = 0
        self.is_measuring = False
        self.is_over = False
        self.block_is_ok: dict[bytes, bool | None] = {}
        """By trailer block: whether it says grpc-status 0; None if it has no status. Blocks have no state here."""

    def record(self, started: float, *, is_ok: bool) -> None:
        """Count one answer."""
        if self.is_measuring:
            self.latencies.append(time.perf_counter() - started)
            self.errors += not is_ok


class Connection(asyncio.Protocol):
    """One connection: sends the next request as soon as the last is answered."""

    def __init__(self, load: Load, index: int) -> None:
        self.load = load
        self.next = index * 7 % len(load.requests)
        self.started = 0.0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def connection_lost(self, _error: Exception | None) -> None:
        """A connection that the server closes is an error."""
        if not self.load.is_over:
            self.load.errors += 1

    def take_request(self) -> Request:
        """The next request; starts its clock."""
        request = self.load.requests[self.next]
        self.next = (self.next + 1) % len(self.load.requests)
        self.started = time.perf_counter()
        return request


class RestConnection(Connection):
    """HTTP/1.1."""

    def __init__(self, load: Load, index: int) -> None:
        super().__init__(load, index)
        self.received = bytearray()
        self.needed = 0

    def send(self) -> None:
        """Send the next request."""
        head, body = self.take_request()
        self.transport.write(head + body)

    def data_received(self, data: bytes) -> None:
        """Collect one response."""
        received = self.received
        received += data
        if not self.needed:
            end = received.find(b"\r\n\r\n")
            if end < 0:
                return
            length = CONTENT_LENGTH.search(received, 0, end + 2)
            assert length is not None, bytes(received[:end])
            self.needed = end + 4 + int(length[1])
        if len(received) >= self.needed:
            self.load.record(self.started, is_ok=received.startswith(b"HTTP/1.1 200"))
            received.clear()
            self.needed = 0
            if not self.load.is_over:
                self.send()


class GrpcConnection(Connection):
    """HTTP/2 with one stream at a time; the server's dynamic HPACK table is off, so blocks can be compared as bytes."""

    def __init__(self, load: Load, index: int) -> None:
        super().__init__(load, index)
        self.buffer = b""
        self.stream = -1
        self.initial_window = self.window = 65_535
        self.stream_window = 0
        self.consumed = 0
        self.unsent: deque[bytes] = deque()
        self.is_ok: bool | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the connection with windows that never stop the server."""
        super().connection_made(transport)
        settings = b"".join(
            number.to_bytes(2, "big") + value.to_bytes(4, "big") for number, value in ((1, 0), (2, 0), (4, MAX_WINDOW))
        )
        window = (MAX_WINDOW - 65_535).to_bytes(4, "big")
        self.transport.write(PREFACE + _frame(SETTINGS, 0, 0, settings) + _frame(WINDOW_UPDATE, 0, 0, window))

    def send(self) -> None:
        """Send the next request, as far as the server's windows allow."""
        head, body = self.take_request()
        self.stream += 2
        self.is_ok = None
        self.stream_window = self.initial_window
        headers = _frame(HEADERS, END_HEADERS, self.stream, head)
        size = len(body)
        if size <= min(self.window, self.stream_window, FRAME_BYTES):
            self.window -= size
            self.transport.write(headers + _frame(DATA, END_STREAM, self.stream, body))
            return
        self.unsent.extend(body[at : at + FRAME_BYTES] for at in range(0, size, FRAME_BYTES))
        self.transport.write(headers)
        self._send_more()

    def _send_more(self) -> None:
        frames = []
        while self.unsent and (room := min(self.window, self.stream_window)) > 0:
            part = self.unsent.popleft()
            if len(part) > room:
                self.unsent.appendleft(part[room:])
                part = part[:room]
            self.window -= len(part)
            self.stream_window -= len(part)
            frames.append(_frame(DATA, 0 if self.unsent else END_STREAM, self.stream, part))
        self.transport.write(b"".join(frames))

    def data_received(self, data: bytes) -> None:
        """Read all complete frames."""
        buffer = self.buffer + data if self.buffer else data
        at = 0
        while len(buffer) - at >= 9:
            end = at + 9 + int.from_bytes(buffer[at : at + 3], "big")
            if len(buffer) < end:
                break
            self._on_frame(buffer[at + 3], buffer[at + 4], buffer[at + 5 : at + 9], buffer[at + 9 : end])
            at = end
        self.buffer = buffer[at:]

    def _on_frame(self, kind: int, flags: int, stream: bytes, payload: bytes) -> None:
        if kind == DATA:
            self._consume(len(payload))
        elif kind == HEADERS:
            self.is_ok = self._status(payload)
        elif kind == WINDOW_UPDATE:
            self._widen(int.from_bytes(payload, "big"), is_stream=any(stream))
        elif kind == SETTINGS and not flags & ACK:
            self._set(payload)
        elif kind == PING and not flags & ACK:
            self.transport.write(_frame(PING, ACK, 0, payload))
        elif kind == RST_STREAM:
            self._answered(is_ok=False)
        elif kind == GOAWAY:
            self.load.errors += 1
        if kind in (DATA, HEADERS) and flags & END_STREAM:
            self._answered(is_ok=bool(self.is_ok))

    def _consume(self, size: int) -> None:
        self.consumed += size
        if self.consumed > MAX_WINDOW // 2:
            self.transport.write(_frame(WINDOW_UPDATE, 0, 0, self.consumed.to_bytes(4, "big")))
            self.consumed = 0

    def _widen(self, size: int, *, is_stream: bool) -> None:
        if is_stream:
            self.stream_window += size
        else:
            self.window += size
        if self.unsent:
            self._send_more()

    def _set(self, settings: bytes) -> None:
        for at in range(0, len(settings), 6):
            if settings[at : at + 2] == b"\0\4":
                change = int.from_bytes(settings[at + 2 : at + 6], "big") - self.initial_window
                self.initial_window += change
                self.stream_window += change
        self.transport.write(_frame(SETTINGS, ACK, 0, b""))
        if self.unsent:
            self._send_more()

    def _status(self, block: bytes) -> bool | None:
        known = self.load.block_is_ok
        if block not in known:
            status = dict(hpack.Decoder().decode(block, raw=True)).get(b"grpc-status")
            known[block] = None if status is None else status == b"0"
        return known[block]

    def _answered(self, *, is_ok: bool) -> None:
        self.unsent.clear()
        self.load.record(self.started, is_ok=is_ok)
        if not self.load.is_over:
            self.send()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return b"%b%c%c%b%b" % (len(payload).to_bytes(3, "big"), kind, flags, stream.to_bytes(4, "big"), payload)


async def run(protocol: str, port: int, connections: int, seconds: float, warm_up_s: float, load: Load) -> float:
    """Load the server; returns how long was measured."""
    loop = asyncio.get_running_loop()
    kind = GrpcConnection if protocol == "grpc" else RestConnection
    opened = []
    for index in range(connections):
        _, connection = await loop.create_connection(lambda index=index: kind(load, index), HOST, port)  # type: ignore[misc] # mypy loses the default
        opened.append(connection)
    for connection in opened:
        connection.send()
    await asyncio.sleep(warm_up_s)
    load.is_measuring = True
    start = time.perf_counter()
    print("measuring", flush=True)
    await asyncio.sleep(seconds)
    took = time.perf_counter() - start
    load.is_measuring = False
    print("measured", flush=True)
    load.is_over = True
    for connection in opened:
        connection.transport.abort()
    return took


def main() -> None:
    """Load a server and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocol", choices=("grpc", "rest"))
    for name, kind in {
        "port": int,
        "connections": int,
        "seconds": float,
        "warm_up_seconds": float,
        "file": Path,
    }.items():
        parser.add_argument(name, type=kind)
    options = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    load = Load(pickle.loads(options.file.read_bytes()))  # noqa: S301 - written by matrix.py
    took = uvloop.run(
        run(options.protocol, options.port, options.connections, options.seconds, options.warm_up_seconds, load)
    )
    p50, p99 = np.percentile(load.latencies, (50, 99)) * 1e3 if load.latencies else (0.0, 0.0)
    figures = {
        "requests": len(load.latencies),
        "errors": load.errors,
        "seconds": took,
        "p50_ms": float(p50),
        "p99_ms": float(p99),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
