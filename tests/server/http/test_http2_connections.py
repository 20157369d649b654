"""The server as an HTTP/2 peer (RFC 9113): every frame is written and read here, the ordinary, the odd and the hostile."""

from __future__ import annotations

import json
import random
import socket
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
import pytest
from abusive_clients import deaf, flooded, others_are_served
from echo_models import write_echo_model
from hpack import Decoder, Encoder
from model_servers import Served, own_mb, running_flags
from ports import HOST

from tfsctl.core import protos, tensors

pytestmark = pytest.mark.server

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


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
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


def message(values: Iterable[float] = (1.5,)) -> bytes:
    """A Predict request as the body of a gRPC call."""
    request = protos.PredictRequest()
    request.model_spec.name = "echo"
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

    # ---- sending ----
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

    def send_body(self, stream: int, body: bytes, *, end: bool = True) -> None:
        """Send a body as fast as the server's windows let it, and end the stream."""
        at, size = 0, self.server_settings.get(Setting.MAX_FRAME_SIZE, DEFAULT_FRAME)
        while at < len(body):
            self.wait(lambda: self.server_room(stream) > 0 or self.answers[stream].is_over)
            if self.server_room(stream) <= 0:
                return  # nobody takes the rest
            length = min(size, max(0, self.server_room(stream)), len(body) - at)
            self.send(frame(Kind.DATA, END_STREAM * (end and at + length == len(body)), stream, body[at : at + length]))
            at += length

    def server_room(self, stream: int) -> int:
        """How much the server takes on this stream now."""
        initial = self.server_settings.get(Setting.INITIAL_WINDOW_SIZE, DEFAULT_WINDOW)
        return min(self.server_window, self.server_windows.get(stream, 0) + initial)

    def ask(self, values: Iterable[float] = (1.5,)) -> int:
        """Send a whole small Predict request; the number of its stream."""
        stream = self.start(grpc_fields())
        self.send(frame(Kind.DATA, END_STREAM, stream, message(values)))
        return stream

    # ---- receiving ----
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


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The server with the echo model."""
    base = tmp_path_factory.mktemp("models") / "echo"
    write_echo_model(base / "7")
    flags, folder = ["--model_name=echo", f"--model_base_path={base}"], tmp_path_factory.mktemp("server")
    with running_flags(flags, folder) as running:
        yield running
    assert (
        "Traceback" not in (folder / "server.log").read_text()
    )  # nothing a client does is a fault of the server's own


@pytest.fixture
def client(server: Served) -> Iterator[Client]:
    """A client of the gRPC port."""
    with connected(server.grpc_port) as one:
        yield one


@pytest.fixture
def rest_client(server: Served) -> Iterator[Client]:
    """A client of the REST port."""
    with connected(server.rest_port) as one:
        yield one


# ---- the connection ----
def test_both_ports(client: Client, rest_client: Client) -> None:
    """A call on one, a GET on the other."""
    assert client.answer(client.ask([2.5])).values().tolist() == [2.5]
    assert client.answers[1].headers["content-type"] == "application/grpc"

    answer = rest_client.answer(rest_client.start(get_fields(), end=True))
    assert answer.json()["model_version_status"][0]["state"] == "AVAILABLE"
    assert answer.headers["content-length"] == str(len(answer.body))


def test_settings(client: Client) -> None:
    """The server's SETTINGS are its first frame; each of ours is acknowledged, once."""
    for size in range(20):
        client.configure({Setting.INITIAL_WINDOW_SIZE: 1000 + size})
    client.sync()

    assert (client.frames[0].kind, client.frames[0].flags) == (Kind.SETTINGS, 0)
    assert client.acked == 21
    assert client.server_settings.get(Setting.ENABLE_PUSH, 0) == 0  # section 6.5.2: a server sends no other
    assert client.works()
    assert client.acked == 21


def test_ping(client: Client) -> None:
    """Each comes back with its eight bytes, in order; an acknowledgement is not acknowledged."""
    payloads = [random.Random(seed).randbytes(8) for seed in range(100)]
    client.send(ping(b"answered", ACK), *map(ping, payloads))
    client.wait(lambda: Frame(Kind.PING, ACK, 0, payloads[-1]) in client.frames)

    assert [came.payload for came in client.frames if came.kind == Kind.PING] == payloads
    assert client.works()


def test_a_byte_at_a_time(server: Served) -> None:
    """Frames arrive in pieces of any size, the preface too."""
    sent = PREFACE + settings({}) + header_frames(1, stateless(grpc_fields()))
    sent += frame(Kind.DATA, END_STREAM, 1, message([3.5]))
    with connected(server.grpc_port, begins=False) as client:
        stream = client.new_stream()
        for number in range(len(sent)):
            client.socket.sendall(sent[number : number + 1])
            time.sleep(0.0005)
        assert client.answer(stream).values().tolist() == [3.5]


def test_all_in_one_packet(server: Served) -> None:
    """The preface and a hundred requests."""
    with connected(server.grpc_port, begins=False) as client:
        streams = [client.new_stream() for _ in range(100)]
        sent = [PREFACE, settings({})]
        for number, stream in enumerate(streams):
            sent.append(header_frames(stream, client.encoder.encode(grpc_fields())))
            sent.append(frame(Kind.DATA, END_STREAM, stream, message([number])))
        client.socket.sendall(b"".join(sent))
        assert [client.answer(stream).values()[0] for stream in streams] == list(range(100))


def test_what_is_unknown_is_ignored(client: Client) -> None:
    """Frames of other types, settings of other numbers, flags and reserved bits without a meaning (section 5.5)."""
    client.send(*(frame(kind, 0xFF, stream, b"what?") for kind in (0x0A, 0x10, 0xBE, 0xFF) for stream in (0, 1, 7)))
    client.configure({0xF000: 7, 0: 1, 9: 2**32 - 1})
    stream = client.new_stream()
    block = stateless(grpc_fields())
    client.send(
        frame(Kind.HEADERS, END_HEADERS | 0xD2, stream | 1 << 31, block),
        frame(0xBE, 0xFF, stream, b"what?"),
        frame(Kind.PING, 0xFE, 1 << 31, b"01234567"),
        window_update(0, 1 << 31 | 5),
        frame(Kind.DATA, END_STREAM | 0xF6, stream | 1 << 31, message()),
    )

    assert client.answer(stream).values().tolist() == [1.5]
    assert client.acked == 2
    assert client.works()


def test_going_away(client: Client) -> None:
    """A client that says so gets the answers under way."""
    stream = client.start(grpc_fields())
    client.send(frame(Kind.GOAWAY, 0, 0, bytes(8) + b"so long"), frame(Kind.DATA, END_STREAM, stream, message()))

    assert client.answer(stream).values().tolist() == [1.5]


# ---- header blocks ----
@pytest.mark.parametrize("padding", [0, 1, 255])
@pytest.mark.parametrize("priority", [b"", bytes(5), b"\x80\0\0\0\xff", b"\0\0\0\x63\x10"])
def test_padding_and_priority(client: Client, padding: int, priority: bytes) -> None:
    """Both are taken off HEADERS; DATA has padding too."""
    stream = client.new_stream()
    flags = END_HEADERS | PADDED | PRIORITY * bool(priority)
    block = bytes([padding]) + priority + stateless(grpc_fields()) + bytes(padding)
    body = message([4.5])
    client.send(
        frame(Kind.PRIORITY, 0, stream + 10, b"\0\0\0\x01\x07"),  # of an idle stream
        frame(Kind.HEADERS, flags, stream, block),
        frame(Kind.PRIORITY, 0, stream, b"\0\0\0\x09\x07"),
        frame(Kind.DATA, PADDED, stream, bytes([padding]) + body[:7] + bytes(padding)),
        frame(Kind.DATA, PADDED, stream, bytes([padding]) + bytes(padding)),  # nothing but padding
        frame(Kind.DATA, PADDED | END_STREAM, stream, bytes([padding]) + body[7:] + bytes(padding)),
    )

    assert client.answer(stream).values().tolist() == [4.5]
    client.send(frame(Kind.PRIORITY, 0, stream, b"\0\0\0\x01\x07"))  # of a closed stream
    assert client.works()


def test_continuation(client: Client) -> None:
    """A header block is one, wherever it is split: in the middle of a name, of a length, at its ends."""
    for cut in range(len(stateless(grpc_fields())) + 1):
        stream = client.new_stream()
        block = client.encoder.encode(grpc_fields(x_number=str(cut)))
        client.send(
            frame(Kind.HEADERS, 0, stream, block[:cut]),
            frame(Kind.CONTINUATION, 0, stream),
            frame(Kind.CONTINUATION, END_HEADERS, stream, block[cut:]),
            frame(Kind.DATA, END_STREAM, stream, message([cut])),
        )
        assert client.answer(stream).values().tolist() == [cut]


def test_continuation_of_padded_headers_that_end_the_stream(rest_client: Client) -> None:
    """END_STREAM stands on HEADERS, and counts when the block is over."""
    stream, block = rest_client.new_stream(), stateless(get_fields(x_long="x" * 3000))
    flags = END_STREAM | PADDED | PRIORITY
    rest_client.send(
        frame(Kind.HEADERS, flags, stream, b"\x09" + bytes(5) + block[:10] + bytes(9)),
        frame(Kind.CONTINUATION, 0, stream, block[10:1000]),
        frame(Kind.CONTINUATION, END_HEADERS, stream, block[1000:]),
    )

    assert rest_client.answer(stream).json()


def test_many_header_fields(client: Client) -> None:
    """Metadata of 6 kB, in fields of all sizes."""
    metadata = {f"x_{number}": "v" * number * 3 for number in range(60)}
    stream = client.start(grpc_fields(**metadata))
    client.send(frame(Kind.DATA, END_STREAM, stream, message()))

    assert client.answer(stream).values().tolist() == [1.5]


def test_the_dynamic_table(rest_client: Client) -> None:
    """Paths come back in errors: each is decoded right, whatever has entered the table and left it since."""
    chance = random.Random(5)
    expected = {}
    for _ in range(1500):
        name = f"m{chance.randrange(40)}"
        fields = get_fields(f"/v1/models/{name}", **{f"x_{chance.randrange(9)}": "v" * chance.choice((1, 200, 900))})
        if chance.random() < 0.02:
            fields.append(("x-larger-than-the-table", "v" * 5000))  # empties it (RFC 7541, section 4.4)
        stream = rest_client.new_stream()
        block = rest_client.encoder.encode(fields, huffman=chance.random() < 0.5)
        rest_client.send(header_frames(stream, block, END_STREAM))
        expected[stream] = f"Could not find any versions of model {name}"
        if chance.random() < 0.05:
            rest_client.answer(stream)

    for stream, said in expected.items():
        assert rest_client.answer(stream).status == 404
        assert json.loads(rest_client.answers[stream].body)["error"] == said


def test_deadlines_that_differ(client: Client) -> None:
    """The ordinary gRPC client: the same block each time but for one field, which is another each time."""
    streams = []
    for number in range(600):
        timeout = "1n" if number % 3 == 0 else f"{10_000_000 + number}u"
        stream = client.start(grpc_fields(grpc_timeout=timeout, user_agent="test/1"))
        client.send(frame(Kind.DATA, END_STREAM, stream, message([number])))
        streams.append(stream)

    for number, stream in enumerate(streams):
        answer = client.answer(stream)
        if number % 3 == 0:
            assert answer.trailers["grpc-status"] == "4", number
        else:
            assert answer.values().tolist() == [number]


def test_the_same_block_thousands_of_times(client: Client) -> None:
    """Five thousand calls on a connection, their fields nothing but indices."""
    client.encoder.encode(grpc_fields())  # enters the table with the first call
    first = Encoder().encode(grpc_fields())
    indices = client.encoder.encode(grpc_fields())
    assert len(indices) < 10
    for start in range(0, 5000, 500):
        streams = [client.new_stream() for _ in range(500)]
        for number, stream in enumerate(streams, start):
            client.send(
                header_frames(stream, indices if number else first),
                frame(Kind.DATA, END_STREAM, stream, message([number])),
            )
        assert [client.answer(stream).values()[0] for stream in streams] == list(range(start, start + 500))


@pytest.mark.parametrize("sizes", [[0], [0, 4096], [100], [100, 0, 200], [4096]])
def test_table_sizes(client: Client, sizes: list[int]) -> None:
    """An encoder may make its table smaller and larger again, within what the server allows (RFC 7541, section 6.3)."""
    for number in range(5):
        assert client.answer(client.start(grpc_fields(x_number=str(number)), end=True)).is_over
        for size in sizes:
            client.encoder.header_table_size = size
        assert client.works()
        assert client.works()
        client.encoder.header_table_size = 4096


def test_a_client_without_a_table(server: Served) -> None:
    """With HEADER_TABLE_SIZE 0 the server's first block says that it has none either (section 4.3.1)."""
    with connected(server.grpc_port, {Setting.HEADER_TABLE_SIZE: 0}) as client:
        client.sync()
        client.decoder.max_allowed_table_size = 0  # from here on a block that does not say so is an error
        assert client.works()
        assert client.works()


# ---- bodies ----
def test_a_body_in_many_frames(client: Client) -> None:
    """A byte a frame, with empty ones between; the last one is empty too, or is not."""
    for last_is_empty in (True, False):
        stream, body = client.start(grpc_fields()), message([5.5])
        frames = [frame(Kind.DATA, 0, stream, body[at : at + 1]) for at in range(len(body) - 1)]
        frames.append(frame(Kind.DATA, END_STREAM * (not last_is_empty), stream, body[-1:]))
        empty = [frame(Kind.DATA, 0, stream)] * 2
        client.send(*(piece for one in frames[:-1] for piece in (one, *empty)), frames[-1])
        if last_is_empty:
            client.send(frame(Kind.DATA, END_STREAM, stream))

        assert client.answer(stream).values().tolist() == [5.5]


def test_no_body(client: Client) -> None:
    """END_STREAM on HEADERS, or an empty DATA: a call without a message has a status."""
    first, second = client.start(grpc_fields(), end=True), client.start(grpc_fields())
    client.send(frame(Kind.DATA, END_STREAM, second))

    for stream in (first, second):
        answer = client.answer(stream)
        assert (answer.status, answer.reset) == (200, None)
        assert (answer.trailers | answer.headers)["grpc-status"] not in ("", "0")


def test_trailers_of_requests(client: Client) -> None:
    """Header fields after the body end the stream as well, in CONTINUATION too."""
    for size in (DEFAULT_FRAME, 5):
        stream = client.start(grpc_fields())
        trailers = client.encoder.encode([("x-checksum", "1234567"), ("x-other", "y")])
        client.send(
            frame(Kind.DATA, 0, stream, message([6.5])),
            header_frames(stream, trailers, END_STREAM, size),
        )

        assert client.answer(stream).values().tolist() == [6.5]


def test_streams_interleaved(client: Client) -> None:
    """Three hundred calls, their bodies cut and shuffled: each gets its own answer."""
    chance = random.Random(7)
    streams = [client.start(grpc_fields()) for _ in range(300)]
    pieces: list[int] = []
    rest: dict[int, bytes] = {}
    for number, stream in enumerate(streams):
        rest[stream] = message([number, -number])
        pieces += [stream] * 4
    chance.shuffle(pieces)
    for stream in pieces:
        size = chance.randrange(30)
        client.send(frame(Kind.DATA, 0, stream, rest[stream][:size]))
        rest[stream] = rest[stream][size:]
    for stream in chance.sample(streams, len(streams)):
        client.send(frame(Kind.DATA, END_STREAM, stream, rest[stream]))

    for number, stream in enumerate(streams):
        assert client.answer(stream).values().tolist() == [number, -number]


def test_numbers_of_streams_may_be_left_out(client: Client) -> None:
    """Each is larger than the one before, and that is all; the largest is 2**31 - 1."""
    for stream in (3, 5, 1001, 2**30 + 1, 2**31 - 1):
        client.windows[stream] = DEFAULT_WINDOW
        body = frame(Kind.DATA, END_STREAM, stream, message([1.5]))
        client.send(header_frames(stream, stateless(grpc_fields())), body)
        assert client.answer(stream).values().tolist() == [1.5]


def test_expectations(rest_client: Client) -> None:
    """A client that waits for 100 (RFC 9110, section 10.1.1) gets it, or the answer, before it sends the body."""
    body = b'{"instances": [1.5]}'
    fields = [(":method", "POST"), *get_fields("/v1/models/echo:predict")[1:], ("expect", "100-continue")]
    stream = rest_client.start([*fields, ("content-length", str(len(body)))])
    rest_client.comes(stream)
    assert rest_client.answers[stream].status == 100
    rest_client.send(frame(Kind.DATA, END_STREAM, stream, body))

    assert rest_client.answer(stream).json() == {"predictions": [1.5]}


# ---- what the server may send ----
@pytest.mark.parametrize("window", [1, 10, 100])
def test_small_windows(server: Served, window: int) -> None:
    """Never more than the window at any moment, which the client checks at each frame; in the end, all of it."""
    with connected(server.grpc_port, {Setting.INITIAL_WINDOW_SIZE: window}) as client:
        streams = [client.ask([number, *range(50)]) for number in range(5)]
        for number, stream in enumerate(streams):
            assert client.answer(stream).values().tolist() == [number, *range(50)]
        assert client.longest <= window


def test_no_window(server: Served) -> None:
    """With 0 there are header fields only; each WINDOW_UPDATE brings so much, and others do not wait."""
    with connected(server.grpc_port, {Setting.INITIAL_WINDOW_SIZE: 0}, opens=False) as client:
        stuck, stream = client.ask([7.5]), client.ask(range(100))
        body = client.answers[stream].body
        client.comes(stream)
        client.sync()
        assert len(body) == 0
        for size in (1, 2, 100, 4):
            expected = len(body) + size
            client.open(stream, size)
            client.comes(stream, expected)
            client.sync()
            assert len(body) == expected
        client.open(stream, MAX_WINDOW)
        assert client.answer(stream).values().tolist() == list(range(100))

        assert len(client.answers[stuck].body) == 0
        client.open(stuck, 10_000)
        assert client.answer(stuck).values().tolist() == [7.5]


def test_what_is_empty_needs_no_window(server: Served) -> None:
    """An answer without content ends, whatever the windows are."""
    with connected(server.rest_port, {Setting.INITIAL_WINDOW_SIZE: 0}, opens=False) as client:
        answer = client.answer(client.start(get_fields(f"{STATUS_PATH}/versions/99999999999999999999"), end=True))

        assert (answer.status, bytes(answer.body)) == (400, b"")


def test_a_window_below_zero(server: Served) -> None:
    """INITIAL_WINDOW_SIZE changes the windows of streams under way by as much, below zero too (section 6.9.2)."""
    with connected(server.grpc_port, {Setting.INITIAL_WINDOW_SIZE: 1000}, opens=False) as client:
        stream = client.ask(range(2000))
        body = client.answers[stream].body
        client.comes(stream, 1000)
        client.configure({Setting.INITIAL_WINDOW_SIZE: 100})
        client.sync()
        assert client.windows[stream] == -900
        client.open(stream, 900)
        client.sync()
        assert len(body) == 1000
        client.open(stream, 50)
        client.comes(stream, 1050)
        client.configure({Setting.INITIAL_WINDOW_SIZE: 350})
        client.comes(stream, 1300)
        client.sync()
        assert len(body) == 1300
        client.configure({Setting.INITIAL_WINDOW_SIZE: MAX_WINDOW - 2000})
        assert client.answer(stream).values().tolist() == list(range(2000))


def test_the_window_of_the_connection(server: Served) -> None:
    """One answer takes it all; what others may have depends on it too, and it goes on as it opens."""
    with connected(server.grpc_port, {Setting.INITIAL_WINDOW_SIZE: MAX_WINDOW}, opens=False) as client:
        client.sync()
        large = client.start(grpc_fields())
        client.send_body(large, message(range(50_000)))
        client.wait(lambda: client.window == 0)
        assert len(client.answers[large].body) == DEFAULT_WINDOW
        small = client.ask([8.5])
        client.comes(small)
        client.sync()
        assert len(client.answers[small].body) == 0
        client.open(0, 10)
        client.wait(lambda: client.window == 0)
        client.open(0, 10_000_000)

        assert client.answer(small).values().tolist() == [8.5]
        assert client.answer(large).values().tolist() == list(range(50_000))


@pytest.mark.parametrize("limit", [None, DEFAULT_FRAME, 100_000, 2**24 - 1])
def test_lengths_of_frames(server: Served, limit: int | None) -> None:
    """An answer of 4 MB, in frames no longer than the client said."""
    values: dict[int, int] = {Setting.INITIAL_WINDOW_SIZE: MAX_WINDOW}
    if limit is not None:
        values[Setting.MAX_FRAME_SIZE] = limit
    with connected(server.grpc_port, values) as client:
        client.open(0, MAX_WINDOW - DEFAULT_WINDOW)
        client.wait(lambda: client.server_settings)
        numbers = np.arange(1_000_000, dtype=np.float32)
        stream = client.start(grpc_fields())
        client.send_body(stream, message(numbers))

        assert np.array_equal(client.answer(stream).values(), numbers)
        assert client.longest <= (limit or DEFAULT_FRAME)


def test_a_client_that_reads_late(server: Served) -> None:
    """The answer waits in the server as long as it takes; other connections do not."""
    with connected(server.grpc_port, {Setting.INITIAL_WINDOW_SIZE: MAX_WINDOW}) as client:
        client.open(0, MAX_WINDOW - DEFAULT_WINDOW)
        client.sync()
        numbers = np.arange(3_000_000, dtype=np.float32)
        stream = client.start(grpc_fields())
        client.send_body(stream, message(numbers))
        with connected(server.grpc_port) as other:
            assert all(other.works() for _ in range(20))

        assert np.array_equal(client.answer(stream).values(), numbers)


# ---- what the server takes ----
def test_a_large_body(client: Client) -> None:
    """40 MB within the server's windows, which open again; the answer comes through ours."""
    client.sync()
    numbers = np.arange(10_000_000, dtype=np.float32)
    stream = client.start(grpc_fields())
    client.send_body(stream, message(numbers))

    assert any(came.kind == Kind.WINDOW_UPDATE for came in client.frames)
    assert np.array_equal(client.answer(stream).values(), numbers)


def test_several_large_bodies_at_once(client: Client) -> None:
    """Their pieces take turns; each is answered."""
    client.sync()
    bodies = {client.start(grpc_fields()): message([number] * 1_000_000) for number in range(4)}
    for at in range(0, 5_000_000, 250_000):
        for stream, body in bodies.items():
            if piece := body[at : at + 250_000]:
                client.send_body(stream, piece, end=at + 250_000 >= len(body))

    for number, stream in enumerate(bodies):
        assert set(client.answer(stream).values()) == {number}


def test_padding_takes_from_windows(client: Client) -> None:
    """The server gives back all of a frame, not its data alone: else a body of padding would stop in the middle."""
    client.sync()
    stream, body, at = client.start(grpc_fields()), message(range(10_000)), 0
    while at < len(body):
        client.wait(lambda: client.server_room(stream) >= 257)
        count = min(client.server_room(stream) // 257, 400, len(body) - at)
        some = body[at : at + count]
        client.send(*(frame(Kind.DATA, PADDED, stream, b"\xff" + bytes([byte]) + bytes(255)) for byte in some))
        at += count
    client.send(frame(Kind.DATA, END_STREAM, stream))

    assert client.answer(stream).values().tolist() == list(range(10_000))


def test_bodies_that_are_broken_off(client: Client) -> None:
    """RST_STREAM in the middle, more often than the connection's window could bear if they kept their share of it."""
    client.sync()
    body = bytes(1_000_000)
    for _ in range(40):
        stream = client.start(grpc_fields())
        client.send_body(stream, body, end=False)
        client.send(reset(stream))

    assert client.works()
    stream = client.start(grpc_fields())
    client.send_body(stream, message(range(500_000)))
    assert client.answer(stream).values().tolist() == list(range(500_000))
    assert client.server_room(client.start(grpc_fields())) > 0


def test_answers_that_come_early(client: Client) -> None:
    """What is not gRPC is refused at once; its body goes on for a while, and harms nobody on the connection."""
    client.sync()
    for _ in range(3):
        stream = client.start([(":method", "PUT"), *get_fields("/v1/models/echo:predict")[1:]])
        for _ in range(200):
            if client.answers[stream].reset is not None:
                break
            client.send_body(stream, bytes(50_000), end=False)
        else:
            client.send(frame(Kind.DATA, END_STREAM, stream))
        answer = client.answer(stream)
        assert answer.status == 415
        assert answer.reset in (None, Code.NO_ERROR)

    client.send(frame(Kind.DATA, END_STREAM, stream))
    assert client.works()


def test_answers_that_are_broken_off(server: Served) -> None:
    """RST_STREAM while the answer waits for a window, and while it comes: nothing comes after it, but to others."""
    with connected(server.grpc_port, {Setting.INITIAL_WINDOW_SIZE: 100}, opens=False) as client:
        client.open(0, 2**30)
        streams = [client.ask(range(1000)) for _ in range(50)]
        for stream in streams:
            client.comes(stream, 100)
            client.send(reset(stream), window_update(stream, 1000))  # a late one, which is allowed
        client.sync()
        client.configure({Setting.INITIAL_WINDOW_SIZE: 1_000_000})
        client.send(*(window_update(stream, 1000) for stream in streams[:5]))

        assert client.works()
        assert all(len(client.answers[stream].body) == 100 for stream in streams)

    with connected(server.grpc_port, {Setting.INITIAL_WINDOW_SIZE: MAX_WINDOW}) as client:
        client.open(0, MAX_WINDOW - DEFAULT_WINDOW)
        client.sync()
        for _ in range(3):
            stream = client.start(grpc_fields())
            client.send_body(stream, message(range(1_000_000)))
            client.comes(stream, 1)
            client.send(reset(stream))
            assert client.works()


def test_calls_that_are_taken_back(client: Client) -> None:
    """RST_STREAM before, with and after the end of a request; those between them are answered."""
    kept = []
    for number in range(200):
        first, second, third = (client.start(grpc_fields()) for _ in range(3))
        end = frame(Kind.DATA, END_STREAM, second, message())
        client.send(reset(first), end, reset(second), frame(Kind.DATA, END_STREAM, third, message([number])))
        kept.append(third)

    assert [client.answer(stream).values()[0] for stream in kept] == list(range(200))


# ---- errors of a connection ----
BLOCK = stateless(grpc_fields())
OPEN = header_frames(1, BLOCK)  # a call without its body
PROTOCOL, SIZE, FLOW = Code.PROTOCOL_ERROR, Code.FRAME_SIZE_ERROR, Code.FLOW_CONTROL_ERROR
COMPRESSION, CLOSED, CALM = Code.COMPRESSION_ERROR, Code.STREAM_CLOSED, Code.ENHANCE_YOUR_CALM


def setting(kind: int, value: int) -> bytes:
    """A SETTINGS frame with one of them."""
    return settings({kind: value})


CONNECTION_ERRORS: dict[str, tuple[bytes, set[Code]]] = {
    "DATA on stream 0": (frame(Kind.DATA, 0, 0, b"x"), {PROTOCOL}),
    "DATA on an idle stream": (frame(Kind.DATA, 0, 5, b"x"), {PROTOCOL}),
    "DATA with too much padding": (OPEN + frame(Kind.DATA, PADDED, 1, b"\x05abcd"), {PROTOCOL}),
    "DATA padded without a length": (OPEN + frame(Kind.DATA, PADDED, 1), {PROTOCOL, SIZE}),
    "HEADERS on stream 0": (header_frames(0, BLOCK), {PROTOCOL}),
    "HEADERS on an even stream": (header_frames(2, BLOCK), {PROTOCOL}),
    "HEADERS on a stream left out": (header_frames(5, BLOCK) + header_frames(3, BLOCK), {PROTOCOL, CLOSED}),
    "HEADERS with too much padding": (frame(Kind.HEADERS, END_HEADERS | PADDED, 1, b"\xff" + BLOCK), {PROTOCOL}),
    "HEADERS padded without a length": (frame(Kind.HEADERS, END_HEADERS | PADDED, 1), {PROTOCOL, SIZE}),
    "HEADERS with half a priority": (frame(Kind.HEADERS, END_HEADERS | PRIORITY, 1, b"abc"), {PROTOCOL, SIZE}),
    "PRIORITY on stream 0": (frame(Kind.PRIORITY, 0, 0, bytes(5)), {PROTOCOL}),
    "RST_STREAM on stream 0": (reset(0), {PROTOCOL}),
    "RST_STREAM on an idle stream": (reset(7), {PROTOCOL}),
    "RST_STREAM of three bytes": (OPEN + frame(Kind.RST_STREAM, 0, 1, b"abc"), {SIZE}),
    "SETTINGS on a stream": (OPEN + frame(Kind.SETTINGS, 0, 1), {PROTOCOL}),
    "SETTINGS of seven bytes": (frame(Kind.SETTINGS, payload=bytes(7)), {SIZE}),
    "SETTINGS acknowledged with content": (frame(Kind.SETTINGS, ACK, payload=bytes(6)), {SIZE}),
    "ENABLE_PUSH 2": (setting(Setting.ENABLE_PUSH, 2), {PROTOCOL}),
    "INITIAL_WINDOW_SIZE 2**31": (setting(Setting.INITIAL_WINDOW_SIZE, 2**31), {FLOW}),
    "INITIAL_WINDOW_SIZE too large for a stream under way": (
        OPEN + window_update(1, 2**31 - 1 - DEFAULT_WINDOW) + setting(Setting.INITIAL_WINDOW_SIZE, 100_000),
        {FLOW},
    ),
    "MAX_FRAME_SIZE 16383": (setting(Setting.MAX_FRAME_SIZE, 16_383), {PROTOCOL}),
    "MAX_FRAME_SIZE 2**24": (setting(Setting.MAX_FRAME_SIZE, 2**24), {PROTOCOL}),
    "PUSH_PROMISE": (OPEN + frame(Kind.PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02" + BLOCK), {PROTOCOL}),
    "PING on a stream": (OPEN + frame(Kind.PING, 0, 1, bytes(8)), {PROTOCOL}),
    "PING of seven bytes": (ping(bytes(7)), {SIZE}),
    "PING of nine bytes": (ping(bytes(9)), {SIZE}),
    "GOAWAY on a stream": (OPEN + frame(Kind.GOAWAY, 0, 1, bytes(8)), {PROTOCOL}),
    "GOAWAY of seven bytes": (frame(Kind.GOAWAY, 0, 0, bytes(7)), {SIZE}),
    "WINDOW_UPDATE of 0": (window_update(0, 0), {PROTOCOL}),
    "WINDOW_UPDATE past 2**31 - 1": (window_update(0, MAX_WINDOW), {FLOW}),
    "WINDOW_UPDATE on an idle stream": (window_update(3, 10), {PROTOCOL}),
    "WINDOW_UPDATE of five bytes": (frame(Kind.WINDOW_UPDATE, 0, 0, bytes(5)), {SIZE}),
    "CONTINUATION without HEADERS": (frame(Kind.CONTINUATION, END_HEADERS, 1, BLOCK), {PROTOCOL}),
    "CONTINUATION after END_HEADERS": (OPEN + frame(Kind.CONTINUATION, END_HEADERS, 1), {PROTOCOL}),
    "CONTINUATION on stream 0": (frame(Kind.CONTINUATION, END_HEADERS, 0), {PROTOCOL}),
    **{
        f"{what} in a header block": (frame(Kind.HEADERS, 0, 1, BLOCK[:9]) + between, {PROTOCOL})
        for what, between in {
            "DATA": frame(Kind.DATA, 0, 1, b"x"),
            "HEADERS": header_frames(1, BLOCK),
            "HEADERS of another stream": header_frames(3, BLOCK),
            "CONTINUATION of another stream": frame(Kind.CONTINUATION, END_HEADERS, 3, BLOCK[9:]),
            "PRIORITY": frame(Kind.PRIORITY, 0, 1, bytes(5)),
            "RST_STREAM": reset(1),
            "SETTINGS": settings({}),
            "PING": ping(),
            "WINDOW_UPDATE": window_update(0, 1),
            "an unknown frame": frame(0xBE, 0, 1, b"x"),
        }.items()
    },
    **{
        f"a header block with {what}": (frame(Kind.HEADERS, END_HEADERS, 1, block), {COMPRESSION})
        for what, block in {
            "the index 0": BLOCK + b"\x80",
            "an index of nothing": BLOCK + b"\xc0",
            "an endless index": BLOCK + b"\xff" * 20,
            "half an index": BLOCK + b"\xff",
            "half a name": BLOCK + b"\x40\x0ax-not-all",
            "half a value": BLOCK + b"\x40\x01x\x05abc",
            "a name and no value": BLOCK + b"\x40\x01x",
            "a value longer than anything": BLOCK + b"\x40\x01x\x7f\xff\xff\xff\xff\x07abc",
            "Huffman padding of zeros": BLOCK + b"\x40\x01x\x81\x00",
            "Huffman padding of a byte": BLOCK + b"\x40\x01x\x82\x07\xff",
            "the Huffman code of the end": BLOCK + b"\x40\x01x\x84\xff\xff\xff\xff",
            "a size of the table at its end": BLOCK + b"\x20",
            "too large a table": b"\x3f\xff\xff\xff\x7f" + BLOCK,
            "the name of an index of nothing": BLOCK + b"\x7f\x7f\x01x",
        }.items()
    },
}


@pytest.mark.parametrize("name", CONNECTION_ERRORS)
def test_errors_of_the_connection(server: Served, client: Client, name: str) -> None:
    """GOAWAY says why (section 7), and the connection closes; others do not notice."""
    frames, codes = CONNECTION_ERRORS[name]
    with connected(server.grpc_port) as other:
        other.sync()
        client.sync()
        for _ in range(3):
            client.new_stream()
        client.try_send(frames)

        assert client.end() in codes
        assert other.works()


@pytest.mark.parametrize(
    "first",
    [
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + settings({}),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rx" + settings({}),
        PREFACE + ping(),
        PREFACE + OPEN,
        PREFACE + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        settings({}) + PREFACE,
    ],
)
def test_bad_prefaces(server: Served, first: bytes) -> None:
    """The connection closes; a GOAWAY may be left out (section 3.4), and so may anything else."""
    for port in (server.grpc_port, server.rest_port):
        with socket.create_connection((HOST, port), timeout=WAIT_S) as connection:
            connection.sendall(first)
            came = b"".join(iter(lambda: received(connection), b""))
        if came.startswith(b"HTTP/"):
            assert came.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505 ", b"HTTP/1.1 501 "))
            assert came.count(b"HTTP/1.1 ") == 1
        else:
            codes = {one.payload[7] for one in parsed(came) if one.kind == Kind.GOAWAY}
            assert codes <= {PROTOCOL, SIZE}
            assert not any(one.kind in (Kind.DATA, Kind.HEADERS) for one in parsed(came))


def received(connection: socket.socket) -> bytes:
    """What has come; nothing when the connection is closed, in whatever manner."""
    try:
        return connection.recv(65_536)
    except ConnectionError:
        return b""


@pytest.mark.parametrize("kind", [Kind.HEADERS, Kind.SETTINGS, Kind.PING, 0xBE])
def test_frames_that_are_too_long(client: Client, kind: int) -> None:
    """One byte more than the server said it would take: FRAME_SIZE_ERROR (section 4.2)."""
    client.sync()
    length = client.server_settings.get(Setting.MAX_FRAME_SIZE, DEFAULT_FRAME) + 1
    client.try_send(frame(kind, 0, client.new_stream() if kind == Kind.HEADERS else 0, bytes(length)))

    assert client.end() == SIZE


def test_data_that_is_too_long(client: Client) -> None:
    """It may end the stream only."""
    client.sync()
    length = client.server_settings.get(Setting.MAX_FRAME_SIZE, DEFAULT_FRAME) + 1
    stream = client.start(grpc_fields())
    client.try_send(frame(Kind.DATA, 0, stream, bytes(length)))
    with suppress(ClosedError):
        assert client.answer(stream).reset == SIZE
        assert client.works()
        return
    assert client.end() == SIZE


def test_the_longest_frames(client: Client) -> None:
    """As long as the server said it would take, and not a byte more: that is right."""
    client.sync()
    length = client.server_settings.get(Setting.MAX_FRAME_SIZE, DEFAULT_FRAME)
    stream, body = client.start(grpc_fields()), message(range(length))
    client.wait(lambda: client.server_room(stream) >= length)
    client.send_body(stream, body)

    assert client.answer(stream).values().tolist() == list(range(length))


# ---- errors of a stream ----
ENDED = header_frames(1, stateless(get_fields()), END_STREAM)
STREAM_ERRORS: dict[str, tuple[bytes, set[Code]]] = {
    "WINDOW_UPDATE of 0": (OPEN + window_update(1, 0), {PROTOCOL}),
    "WINDOW_UPDATE past 2**31 - 1": (OPEN + window_update(1, MAX_WINDOW) * 2, {FLOW}),
    "PRIORITY of four bytes": (OPEN + frame(Kind.PRIORITY, 0, 1, bytes(4)), {SIZE}),
    "DATA after the end": (ENDED + frame(Kind.DATA, 0, 1, b"x"), {CLOSED}),
    "HEADERS after the end": (ENDED + header_frames(1, BLOCK), {CLOSED}),
    "trailers after the end": (ENDED + header_frames(1, stateless([("x", "y")]), END_STREAM), {CLOSED}),
}


@pytest.mark.parametrize("name", STREAM_ERRORS)
def test_errors_of_a_stream(server: Served, name: str) -> None:
    """RST_STREAM says why, and the connection goes on; a server may end the connection for it, too (section 5.4.1)."""
    frames, codes = STREAM_ERRORS[name]
    with connected(server.rest_port, {Setting.INITIAL_WINDOW_SIZE: 0}, opens=False) as client:
        client.sync()  # the answer to what has ended waits for a window
        client.new_stream()
        client.try_send(frames)
        with suppress(ClosedError):
            assert client.answer(1).reset in codes
            client.configure({Setting.INITIAL_WINDOW_SIZE: 10_000})
            assert client.answer(client.start(get_fields(), end=True)).json()
            return
        assert client.end() in codes


def without(name: str) -> list[tuple[str, str]]:
    """A GET that lacks a field."""
    return [pair for pair in get_fields() if pair[0] != name]


MALFORMED: dict[str, list[tuple[str, str]]] = {
    "a name in upper case": get_fields(X_Name="y"),
    "a name with a space": [*get_fields(), ("x y", "z")],
    "a name with a colon in it": [*get_fields(), ("x:y", "z")],
    "a name with a line break": [*get_fields(), ("x\r\ny", "z")],
    "a name beyond ASCII": [*get_fields(), ("x\u00e9", "z")],
    "no name": [*get_fields(), ("", "x")],
    "a value with a line feed": get_fields(x="y\nz"),
    "a value with a carriage return": get_fields(x="y\rz"),
    "a value with a NUL": get_fields(x="y\0z"),
    "a value that begins with a space": get_fields(x=" y"),
    "a value that ends with a tab": get_fields(x="y\t"),
    "no :method": without(":method"),
    "no :scheme": without(":scheme"),
    "no :path": without(":path"),
    "an empty :path": get_fields(path=""),
    ":method twice": [(":method", "GET"), *get_fields()],
    ":path twice": [(":path", STATUS_PATH), *get_fields()],
    ":scheme twice": [(":scheme", "http"), *get_fields()],
    ":authority twice": [(":authority", "localhost"), *get_fields()],
    "a pseudo-header of answers": [(":status", "200"), *get_fields()],
    "an unknown pseudo-header": [(":what", "x"), *get_fields()],
    "a pseudo-header after another field": [*without(":path"), ("x", "y"), (":path", STATUS_PATH)],
    "connection": get_fields(connection="keep-alive"),
    "keep-alive": get_fields(keep_alive="timeout=5"),
    "proxy-connection": get_fields(proxy_connection="keep-alive"),
    "transfer-encoding": get_fields(transfer_encoding="chunked"),
    "upgrade": get_fields(upgrade="websocket"),
    "te: gzip": get_fields(te="gzip"),
    "a length, and no body": get_fields(content_length="5"),
    "a length that is none": get_fields(content_length="x"),
    "a length below zero": get_fields(content_length="-1"),
    "a length of thousands of digits": get_fields(content_length="9" * 5000),
    "two lengths": [*get_fields(), ("content-length", "0"), ("content-length", "1")],
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_requests(rest_client: Client, name: str) -> None:
    """Refused with RST_STREAM or 400 (section 8.1.1); the connection goes on, its header table in step."""
    assert rest_client.answer(rest_client.start(get_fields(te="trailers"), end=True)).json()
    refused(rest_client, rest_client.start(MALFORMED[name], end=True))

    assert rest_client.answer(rest_client.start(get_fields(te="trailers"), end=True)).json()


def refused(client: Client, stream: int) -> None:
    """See that a malformed request was refused as such."""
    answer = client.answer(stream)
    assert (answer.status, answer.reset) in ((0, PROTOCOL), (400, None), (400, PROTOCOL), (400, Code.NO_ERROR)), answer


@pytest.mark.parametrize("body", [b"1234", b"123456"])
def test_bodies_of_another_length(client: Client, body: bytes) -> None:
    """Shorter or longer than content-length says: malformed."""
    stream = client.start(grpc_fields(content_length="5"))
    client.send(frame(Kind.DATA, 0, stream, body[:3]), frame(Kind.DATA, END_STREAM, stream, body[3:]))

    refused(client, stream)
    assert client.works()


@pytest.mark.parametrize(
    ("trailers", "flags"), [([("x", "y")], 0), ([(":path", "/")], END_STREAM), ([("X", "y")], END_STREAM)]
)
def test_malformed_trailers(client: Client, trailers: list[tuple[str, str]], flags: int) -> None:
    """Those that end nothing, and those with fields that no header block may have."""
    stream = client.start(grpc_fields())
    client.send(frame(Kind.DATA, 0, stream, message()))
    client.send(header_frames(stream, client.encoder.encode(trailers), flags))

    refused(client, stream)
    assert client.works()


def test_more_streams_than_allowed(client: Client) -> None:
    """Those beyond SETTINGS_MAX_CONCURRENT_STREAMS are refused, so that a client may try them elsewhere; no other."""
    client.sync()
    allowed = client.server_settings[Setting.MAX_CONCURRENT_STREAMS]
    assert 100 <= allowed <= 10_000
    streams = [client.start(grpc_fields()) for _ in range(allowed)]
    beyond = [client.start(grpc_fields(x_beyond=str(number))) for number in range(20)]
    assert {client.answer(stream).reset for stream in beyond} == {Code.REFUSED_STREAM}
    client.send(*(frame(Kind.DATA, 0, stream, b"late") for stream in beyond))  # they were on their way

    for start in range(0, allowed, 256):
        some = streams[start : start + 256]
        client.send(*(frame(Kind.DATA, END_STREAM, stream, message([stream])) for stream in some))
        assert [client.answer(stream).values()[0] for stream in some] == some
    assert client.works()


# ---- abuse ----
def test_endless_header_blocks(server: Served, client: Client) -> None:
    """A block without an end is broken off long before it is a burden."""
    client.sync()
    literal = b"\x00\x01x\x7f\xf8\x7e" + bytes(16_375)  # a field of 16 kB
    with others_are_served(server, growth_mb=20):
        client.try_send(frame(Kind.HEADERS, 0, client.new_stream(), BLOCK))
        for _ in range(16):
            client.try_send(frame(Kind.CONTINUATION, 0, 1, literal))
        assert client.end() == CALM


def test_a_field_without_an_end(server: Served, client: Client) -> None:
    """So is a single one."""
    client.sync()
    with others_are_served(server, growth_mb=20):
        client.try_send(frame(Kind.HEADERS, 0, client.new_stream(), BLOCK + b"\x00\x01x\x7f\xff\xff\xff\x07"))
        for _ in range(16):
            client.try_send(frame(Kind.CONTINUATION, 0, 1, b"v" * DEFAULT_FRAME))
        assert client.end() in (CALM, COMPRESSION)


@pytest.mark.parametrize("payload", [b"", b"\x00\x01x\x01y"])
def test_header_blocks_of_many_small_frames(server: Served, payload: bytes) -> None:
    """A hundred thousand CONTINUATION frames of little or nothing hold nobody up."""
    with others_are_served(server, growth_mb=20), connected(server.grpc_port) as client:
        client.sync()
        client.try_send(frame(Kind.HEADERS, 0, client.new_stream(), BLOCK))
        client.try_send(frame(Kind.CONTINUATION, 0, 1, payload) * 100_000)
        client.try_send(frame(Kind.CONTINUATION, END_HEADERS, 1), ping(b"the last"))
        with suppress(ClosedError):
            client.wait(lambda: Frame(Kind.PING, ACK, 0, b"the last") in client.frames[-1:])
            assert payload == b""
            return
        assert client.end() in (CALM, PROTOCOL)


def test_header_blocks_that_unfold(server: Served, client: Client) -> None:
    """A field of 4 kB in the table, and forty thousand times its index: 160 MB of fields that nobody shall hold."""
    client.sync()
    block = BLOCK + b"\x40\x01x\x7f\xa1\x1e" + b"v" * 4000 + b"\xbe" * 40_000
    with others_are_served(server, growth_mb=40):
        client.try_send(header_frames(client.new_stream(), block))
        with suppress(ClosedError):
            answer = client.answer(1)
            assert answer.reset is not None or answer.status in (400, 431)
            assert client.works()
            return
        assert client.end() in (CALM, COMPRESSION, PROTOCOL)


@pytest.mark.parametrize("port", ["gRPC", "REST"])
def test_rapid_reset(server: Served, port: str) -> None:
    """Tens of thousands of requests, whole or not, each taken back at once (CVE-2023-44487)."""
    block, flags, number = BLOCK, 0, server.grpc_port
    if port == "REST":
        block, flags, number = stateless(get_fields()), END_STREAM, server.rest_port
    frames = [header_frames(stream, block, flags) + reset(stream) for stream in range(1, 60_001, 2)]
    with others_are_served(server, growth_mb=40), connected(number) as client:
        client.sync()
        client.try_send(*frames, ping(b"the last"))
        with suppress(ClosedError):
            client.wait(lambda: Frame(Kind.PING, ACK, 0, b"the last") in client.frames[-1:])
            return
        assert client.end() in (CALM, PROTOCOL, Code.NO_ERROR)


FLOODS = {
    "PING": ping() * 6000,
    "SETTINGS": settings({}) * 10_000,
    "SETTINGS that change windows": (setting(Setting.INITIAL_WINDOW_SIZE, 1) + settings({})) * 5000,
}


@pytest.mark.parametrize("name", FLOODS)
def test_floods_from_those_who_never_read(server: Served, name: str) -> None:
    """Each frame has an answer, which nobody takes: the server stops reading, or closes, before it holds too many."""
    limit = 16_000_000
    with others_are_served(server, growth_mb=20), deaf(server.grpc_port) as connection:
        connection.sendall(PREFACE + settings({}))
        assert flooded(connection, FLOODS[name], limit) < limit


@pytest.mark.parametrize("name", ["a field", "a WINDOW_UPDATE"])
def test_errors_for_those_who_never_read(server: Served, name: str) -> None:
    """So it is with streams that the server has to reset."""
    bad = {"a field": BLOCK + b"\x00\x01X\x01y", "a WINDOW_UPDATE": BLOCK}[name]
    update = frame(Kind.WINDOW_UPDATE, 0, 0, bytes(4)) if name == "a WINDOW_UPDATE" else b""
    frames = [
        header_frames(stream, bad) + update[:5] + stream.to_bytes(4, "big") * bool(update) + update[9:]
        for stream in range(1, 60_001, 2)
    ]
    with others_are_served(server, growth_mb=40), deaf(server.grpc_port) as connection:
        connection.sendall(PREFACE + settings({}))
        data = b"".join(frames)
        flooded(connection, data, len(data))


def test_answers_for_those_who_never_read(server: Served) -> None:
    """A client with windows without end asks on and on for answers that it does not take."""
    block = stateless(get_fields(f"/v1/models/{'m' * 4000}"))
    data = b"".join(header_frames(stream, block, END_STREAM) for stream in range(1, 30_001, 2))
    with others_are_served(server, growth_mb=60), deaf(server.rest_port) as connection:
        connection.sendall(PREFACE + setting(Setting.INITIAL_WINDOW_SIZE, MAX_WINDOW))
        connection.sendall(window_update(0, MAX_WINDOW - DEFAULT_WINDOW))
        assert flooded(connection, data, len(data)) < len(data)


def test_settings_without_end(server: Served) -> None:
    """INITIAL_WINDOW_SIZE thousands of times in a frame, while thousands of streams have a window each."""
    values = b"".join(b"\0\x04" + (1000 + number).to_bytes(4, "big") for number in range(50_000))
    with connected(server.grpc_port) as client:
        client.sync()
        for _ in range(2000):
            client.start(grpc_fields())
        client.sync()
        with others_are_served(server, growth_mb=20):
            size = min(len(values), client.server_settings.get(Setting.MAX_FRAME_SIZE, DEFAULT_FRAME) // 6 * 6)
            frames = [frame(Kind.SETTINGS, payload=values[at : at + size]) for at in range(0, len(values), size)]
            client.try_send(*frames)
            with suppress(ClosedError):
                client.sync()


def test_window_updates_without_end(server: Served) -> None:
    """A byte for the connection, thousands of times, while thousands of answers wait for windows of their own."""
    with connected(server.rest_port, {Setting.INITIAL_WINDOW_SIZE: 0}, opens=False) as client:
        client.sync()
        streams = [client.start(get_fields(), end=True) for _ in range(2000)]
        for stream in streams:
            client.comes(stream)
        with others_are_served(server, growth_mb=20):
            client.try_send(window_update(0, 1) * 10_000, window_update(streams[0], 1) * 10_000)


def test_memory_of_a_long_connection(client: Client, server: Served) -> None:
    """Streams that are over leave nothing behind."""
    before_mb = 0.0
    for _ in range(2):
        before_mb = own_mb(server.pid)
        for start in range(0, 3000, 300):
            streams = [client.ask([number]) for number in range(start, start + 300)]
            assert all(client.answer(stream).trailers for stream in streams)
    assert own_mb(server.pid) < before_mb + 5
