"""A client that speaks HTTP/2 frame by frame (RFC 9113), the ordinary, the odd and the hostile, for the tests of the server."""

from __future__ import annotations

import json
import socket
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from hpack import Decoder, Encoder
from ports import HOST

from tfsctl.core import protos, tensors

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
PREDICT = "/tensorflow.serving.PredictionService/Predict"
STATUS_PATH = "/v1/models/echo"
WAIT_S = 240.0  # what has not come by then never comes
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20  # flags
DEFAULT_WINDOW, MAX_WINDOW, DEFAULT_FRAME = 65_535, 2**31 - 1, 16_384

Fields = Iterable[tuple[str, str]]


class Kind(IntEnum):
    """The types of frames."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Setting(IntEnum):
    """What SETTINGS may hold."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6


class Code(IntEnum):
    """Why a stream or a connection ends (RFC 9113, section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class Frame(NamedTuple):
    """A frame as it came."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes | memoryview = b"") -> bytes:
    """A frame as it goes over the wire."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def settings(values: Mapping[int, int]) -> bytes:
    """A SETTINGS frame."""
    payload = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in values.items())
    return frame(Kind.SETTINGS, payload=payload)


def window_update(stream: int, increment: int) -> bytes:
    """A WINDOW_UPDATE frame."""
    return frame(Kind.WINDOW_UPDATE, 0, stream, increment.to_bytes(4, "big"))


def reset(stream: int, code: int = Code.CANCEL) -> bytes:
    """A RST_STREAM frame."""
    return frame(Kind.RST_STREAM, 0, stream, code.to_bytes(4, "big"))


def ping(payload: bytes = b"01234567", flags: int = 0) -> bytes:
    """A PING frame."""
    return frame(Kind.PING, flags, 0, payload)


def header_frames(stream: int, block: bytes, flags: int = 0, size: int = DEFAULT_FRAME) -> bytes:
    """HEADERS, and CONTINUATION as often as it takes."""
    pieces = [block[start : start + size] for start in range(0, len(block), size)] or [b""]
    kinds = [Kind.HEADERS] + [Kind.CONTINUATION] * (len(pieces) - 1)
    all_flags = [flags] + [0] * (len(pieces) - 1)
    all_flags[-1] |= END_HEADERS
    return b"".join(frame(*parts) for parts in zip(kinds, all_flags, [stream] * len(pieces), pieces, strict=True))


def grpc_fields(**more: str) -> list[tuple[str, str]]:
    """The header fields of a Predict call; underscores in the names of more fields are hyphens."""
    return [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", PREDICT),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *((name.replace("_", "-"), value) for name, value in more.items()),
    ]


def get_fields(path: str = STATUS_PATH, **more: str) -> list[tuple[str, str]]:
    """The header fields of a GET."""
    fields = [(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "localhost")]
    return fields + [(name.replace("_", "-"), value) for name, value in more.items()]


def parsed(data: bytes) -> list[Frame]:
    """The whole frames in these bytes."""
    frames, at = [], 0
    while (start := at + 9) <= len(data) and (end := start + int.from_bytes(data[at : at + 3], "big")) <= len(data):
        stream = int.from_bytes(data[at + 5 : start], "big") & MAX_WINDOW
        frames.append(Frame(data[at + 3], data[at + 4], stream, data[start:end]))
        at = end
    return frames


def stateless(fields: Fields) -> bytes:
    """A header block that leaves the dynamic table as it is, and needs nothing of it."""
    return Encoder().encode([(name, value, True) for name, value in fields])


def message(values: Iterable[float] = (1.5,), model: str = "echo") -> bytes:
    """A Predict request as the body of a gRPC call."""
    request = protos.PredictRequest()
    request.model_spec.name = model
    request.inputs["x"].CopyFrom(tensors.to_proto(np.asarray(values, np.float32)))
    raw: bytes = request.SerializeToString()
    return b"\0" + len(raw).to_bytes(4, "big") + raw


@dataclass
class Answer:
    """What came on one stream so far."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    trailers: dict[str, str] = field(default_factory=dict)
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        """The HTTP status, 0 before it is there."""
        return int(self.headers.get(":status", 0))

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes on this stream."""
        return self.ended or self.reset is not None

    def values(self) -> np.ndarray:
        """The values of a Predict response."""
        assert (self.status, self.reset, self.trailers.get("grpc-status")) == (200, None, "0"), self
        assert (self.body[0], int.from_bytes(self.body[1:5], "big")) == (0, len(self.body) - 5)
        response: Any = protos.PredictResponse.FromString(bytes(self.body[5:]))
        return tensors.from_proto(response.outputs["x"])

    def json(self) -> Any:
        """The document of a REST answer."""
        assert (self.status, self.reset) == (200, None), self
        return json.loads(self.body)


class ClosedError(Exception):
    """The server has closed the connection."""


class Client:
    """An HTTP/2 client. It sees to it that the server keeps to the rules: windows, lengths, order of frames.

    It acknowledges SETTINGS and PING. With `opens`, it opens its windows again by what it received. Without `begins`,
    what every connection begins with is sent by the test.
    """

    def __init__(
        self, port: int, values: Mapping[int, int] | None = None, *, opens: bool = True, begins: bool = True
    ) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=WAIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.encoder, self.decoder = Encoder(), Decoder()
        self.opens = opens
        self.frames: list[Frame] = []  # but DATA
        self.longest = 0  # of the payloads of DATA
        self.answers: defaultdict[int, Answer] = defaultdict(Answer)
        self.server_settings: dict[int, int] = {}
        self.acked = 0
        self.goaways: list[tuple[int, int]] = []  # the last stream, and why
        self.window = DEFAULT_WINDOW
        self.windows: dict[int, int] = {}  # by stream: how much the server may still send
        self.server_window = DEFAULT_WINDOW
        self.server_windows: dict[int, int] = {}  # by stream: how much we may still send, but for the initial size
        self._initial = DEFAULT_WINDOW
        self._max_frame = DEFAULT_FRAME
        self._shrinking: deque[tuple[int, list[int]]] = deque()  # by SETTINGS sent: how much, on which streams
        self._next_stream = 1
        self._received = bytearray()
        self._block: Frame | None = None  # HEADERS without END_HEADERS
        self._count = 0
        if begins:
            self.socket.sendall(PREFACE)
            self.configure(values or {})
        else:
            self._shrinking.append((0, []))

    def close(self) -> None:
        """Leave."""
        self.socket.close()

    def send(self, *frames: bytes) -> None:
        """Send these frames in one piece."""
        data = b"".join(frames)
        for one in parsed(data):
            if one.kind == Kind.DATA:
                self.server_window -= len(one.payload)
                self.server_windows[one.stream] = self.server_windows.get(one.stream, 0) - len(one.payload)
        self.socket.sendall(data)

    def try_send(self, *frames: bytes) -> None:
        """Send what may make the server close the connection."""
        with suppress(ConnectionError):
            self.socket.sendall(b"".join(frames))

    def configure(self, values: Mapping[int, int]) -> None:
        """Send SETTINGS. What takes from a window counts once it is acknowledged (section 6.5.3)."""
        self._max_frame = max(self._max_frame, values.get(Setting.MAX_FRAME_SIZE, 0))
        growth = values.get(Setting.INITIAL_WINDOW_SIZE, self._initial) - self._initial
        self._initial += growth
        if growth > 0:
            for stream in self.windows:
                self.windows[stream] += growth
        self._shrinking.append((min(growth, 0), list(self.windows)))
        self.send(settings(values))

    def open(self, stream: int, increment: int) -> None:
        """Send WINDOW_UPDATE, for a stream or (0) for the connection."""
        if stream:
            self.windows[stream] += increment
        else:
            self.window += increment
        self.send(window_update(stream, increment))

    def new_stream(self) -> int:
        """The number of the next stream."""
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self.windows[stream] = self._initial
        return stream

    def start(self, fields: Fields, *, end: bool = False) -> int:
        """Send the header fields of a request; the number of its stream."""
        stream = self.new_stream()
        self.send(header_frames(stream, self.encoder.encode(fields), END_STREAM * end))
        return stream

    def send_body(self, stream: int, body: bytes | memoryview, *, end: bool = True) -> None:
        """Send a body as fast as the server's windows let it, and end the stream."""
        at, size = 0, self.server_settings.get(Setting.MAX_FRAME_SIZE, DEFAULT_FRAME)
        while at < len(body):
            self.wait(lambda: self.server_room(stream) > 0 or self.answers[stream].is_over)
            if self.server_room(stream) <= 0:
                return  # nobody takes the rest
            length = min(size, max(0, self.server_room(stream)), len(body) - at)
            self.send(frame(Kind.DATA, END_STREAM * (end and at + length == len(body)), stream, body[at : at + length]))
            at += length

    def send_bodies(self, bodies: Mapping[int, bytes | memoryview]) -> None:
        """Send the bodies of several streams at once, as the server's windows allow."""
        left = {stream: memoryview(body) for stream, body in bodies.items()}
        while left:
            self.wait(partial(self._has_room, tuple(left)))
            rest = {stream: self.send_what_fits(stream, body) for stream, body in left.items()}
            left = {stream: body for stream, body in rest.items() if body}

    def send_until_it_stalls(self, bodies: Mapping[int, bytes]) -> dict[int, memoryview]:
        """Send the bodies of several streams until the server opens no window. Returns what is left; fails if nothing is."""
        left, is_stalled = {stream: memoryview(body) for stream, body in bodies.items()}, False
        while not is_stalled:
            rest = {stream: self.send_what_fits(stream, body) for stream, body in left.items()}
            is_stalled = all(len(rest[stream]) == len(body) for stream, body in left.items())
            left = {stream: body for stream, body in rest.items() if body}
            self.sync()
        assert left
        return left

    def _has_room(self, streams: Iterable[int]) -> bool:
        return any(self.server_room(stream) > 0 for stream in streams)

    def send_what_fits(self, stream: int, body: bytes | memoryview) -> memoryview:
        """Send what the server's windows allow now. Returns the rest of the body. Ends the stream with the last byte.

        The rest is a view: windows open by some kilobytes, and copies of megabytes each time took most of the CPU.
        """
        body = memoryview(body)
        room = max(0, self.server_room(stream))
        if room:
            self.send_body(stream, body[:room], end=room >= len(body))
        return body[room:]

    def server_room(self, stream: int) -> int:
        """How much the server takes on this stream now."""
        initial = self.server_settings.get(Setting.INITIAL_WINDOW_SIZE, DEFAULT_WINDOW)
        return min(self.server_window, self.server_windows.get(stream, 0) + initial)

    def ask(self, values: Iterable[float] = (1.5,)) -> int:
        """Send a whole small Predict request; the number of its stream."""
        stream = self.start(grpc_fields())
        self.send(frame(Kind.DATA, END_STREAM, stream, message(values)))
        return stream

    def read(self) -> Frame | None:
        """The next frame, which has taken effect; None when the server has closed the connection."""
        while len(self._received) < 9 or len(self._received) < 9 + int.from_bytes(self._received[:3], "big"):
            try:
                data = self.socket.recv(1 << 20)
            except ConnectionError:
                data = b""
            if not data:
                return None
            self._received += data
        end = 9 + int.from_bytes(self._received[:3], "big")
        head = self._received[:9]
        came = Frame(head[3], head[4], int.from_bytes(head[5:9], "big") & MAX_WINDOW, bytes(self._received[9:end]))
        del self._received[:end]
        assert end - 9 <= self._max_frame, came[:3]
        if self._block is not None:
            assert (came.kind, came.stream) == (Kind.CONTINUATION, self._block.stream)
        if came.kind != Kind.DATA:
            self.frames.append(came)
        self._take(came)
        return came

    def wait(self, until: Callable[[], object]) -> None:
        """Read frames until something is so."""
        deadline = time.monotonic() + WAIT_S
        while not until():
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            if self.read() is None:
                raise ClosedError(self.goaways)
        self.socket.settimeout(WAIT_S)

    def comes(self, stream: int, length: int = 0) -> None:
        """Wait for the header fields of an answer, and for so much of its body."""
        self.wait(lambda: self.answers[stream].headers and len(self.answers[stream].body) >= length)

    def answer(self, stream: int) -> Answer:
        """The whole answer on a stream."""
        self.wait(lambda: self.answers[stream].is_over)
        return self.answers[stream]

    def sync(self) -> None:
        """Wait until the server has taken in all that was sent."""
        self._count += 1
        payload = self._count.to_bytes(8, "big")
        self.send(ping(payload))
        self.wait(lambda: Frame(Kind.PING, ACK, 0, payload) in self.frames[-1:])

    def end(self) -> int | None:
        """Read to the end of the connection: the reason the server gave in GOAWAY, if any."""
        self.socket.settimeout(WAIT_S)
        while self.read() is not None:
            pass
        assert all(last < self._next_stream or last == MAX_WINDOW for last, _ in self.goaways)
        return self.goaways[-1][1] if self.goaways else None

    def works(self) -> bool:
        """Whether the server answers on this connection."""
        self._count += 1
        value = self._count + 0.5
        return bool(self.answer(self.ask([value])).values().tolist() == [value])

    def _take(self, came: Frame) -> None:
        if came.kind == Kind.DATA:
            self._take_data(came)
        elif came.kind == Kind.HEADERS:
            self._take_headers(came)
        elif came.kind == Kind.CONTINUATION:
            assert self._block is not None
            block, self._block = self._block, None
            self._take_headers(Frame(0, block.flags | came.flags, came.stream, block.payload + came.payload))
        elif came.kind == Kind.RST_STREAM:
            assert len(came.payload) == 4
            self.answers[came.stream].reset = int.from_bytes(came.payload, "big")
        elif came.kind == Kind.WINDOW_UPDATE:
            self._take_window(came.stream, int.from_bytes(came.payload, "big"))
        else:
            self._take_of_connection(came)

    def _take_of_connection(self, came: Frame) -> None:
        assert (came.stream, came.kind in (Kind.SETTINGS, Kind.PING, Kind.GOAWAY)) == (0, True), came
        if came.kind == Kind.GOAWAY:
            self.goaways.append((int.from_bytes(came.payload[:4], "big"), int.from_bytes(came.payload[4:8], "big")))
        elif came.kind == Kind.PING:
            assert len(came.payload) == 8
            if not came.flags & ACK:
                self.try_send(ping(came.payload, ACK))
        elif came.flags & ACK:
            assert came.payload == b""
            self.acked += 1
            lost, streams = self._shrinking.popleft()  # an acknowledgement of nothing would fail here
            for stream in streams:
                self.windows[stream] += lost
        else:
            pairs = [came.payload[at : at + 6] for at in range(0, len(came.payload), 6)]
            self.server_settings |= {int.from_bytes(p[:2], "big"): int.from_bytes(p[2:], "big") for p in pairs}
            self.try_send(frame(Kind.SETTINGS, ACK))

    def _take_window(self, stream: int, increment: int) -> None:
        assert 0 < increment <= MAX_WINDOW
        if stream:
            self.server_windows[stream] = self.server_windows.get(stream, 0) + increment
        else:
            self.server_window += increment
            assert self.server_window <= MAX_WINDOW

    def _take_data(self, came: Frame) -> None:
        answer, length = self.answers[came.stream], len(came.payload)
        assert answer.headers, "DATA before HEADERS"
        assert not answer.is_over, "DATA after the end"
        self.window -= length
        self.windows[came.stream] -= length
        if length:
            assert self.window >= 0, f"{-self.window} more than the connection's window"
            assert self.windows[came.stream] >= 0, f"{-self.windows[came.stream]} more than the stream's window"
        self.longest = max(self.longest, length)
        answer.body += came.payload[1 : length - came.payload[0]] if came.flags & PADDED else came.payload
        answer.ended = bool(came.flags & END_STREAM)
        if self.opens and length:
            self.window += length
            self.windows[came.stream] += length
            updates = [window_update(0, length)] + [window_update(came.stream, length)] * (not answer.ended)
            self.try_send(*updates)

    def _take_headers(self, came: Frame) -> None:
        if not came.flags & END_HEADERS:
            self._block = came
            return
        answer = self.answers[came.stream]
        assert not answer.is_over, "HEADERS after the end"
        fields = {str(name): str(value) for name, value in self.decoder.decode(came.payload)}
        if answer.status >= 200:
            assert came.flags & END_STREAM, "trailers are the end"
            answer.trailers = fields
        else:
            answer.headers = fields
        answer.ended = bool(came.flags & END_STREAM)


@contextmanager
def connected(
    port: int, values: Mapping[int, int] | None = None, *, opens: bool = True, begins: bool = True
) -> Iterator[Client]:
    """A client while the block lasts."""
    client = Client(port, values, opens=opens, begins=begins)
    try:
        yield client
    finally:
        client.close()


BLOCK = stateless(grpc_fields())
OPEN = header_frames(1, BLOCK)  # a call without its body
PROTOCOL, SIZE, FLOW = Code.PROTOCOL_ERROR, Code.FRAME_SIZE_ERROR, Code.FLOW_CONTROL_ERROR
COMPRESSION, CLOSED, CALM = Code.COMPRESSION_ERROR, Code.STREAM_CLOSED, Code.ENHANCE_YOUR_CALM


def setting(kind: int, value: int) -> bytes:
    """A SETTINGS frame with one of them."""
    return settings({kind: value})
