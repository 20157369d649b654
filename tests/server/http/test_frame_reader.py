"""The frame reader of HTTP/2 without a server: pieces of any size, padding, limits enforced by the head of a frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from http2_client import ACK, END_HEADERS, END_STREAM, PADDED, PREFACE, Kind, frame, ping, settings

from tfsctl.server.http.frame_reader import FrameReader
from tfsctl.server.http.frames import ConnectionFailedError, ErrorCode

MAX_BLOCK = 1000


@dataclass
class Recorded:
    """A frame handler that records all frames. It drops the data of stream 9."""

    events: list[tuple[object, ...]] = field(default_factory=list)

    def on_data(self, number: int, length: int) -> Recorded | None:
        """Record the beginning of DATA."""
        self.events.append(("data", number, length))
        return None if number == 9 else self

    def receive(self, data: bytes) -> None:
        """Record data; adjacent parts are joined."""
        match self.events[-1]:
            case ("received", bytes(before)):
                self.events[-1] = ("received", before + data)
            case _:
                self.events.append(("received", data))

    def receive_padding(self, size: int) -> None:
        """Record padding."""
        self.events.append(("padding", size))

    def end_request(self) -> None:
        """Record the end of a request."""
        self.events.append(("end",))

    def on_header_block(self, number: int, block: bytes, flags: int) -> None:
        """Record a header block."""
        self.events.append(("block", number, block, flags & END_STREAM))

    def on_settings(self, number: int, payload: bytes, flags: int) -> None:
        """Record SETTINGS."""
        self.events.append(("settings", number, payload, flags))

    def on_control(self, kind: int, number: int, payload: bytes, flags: int) -> None:
        """Record another frame."""
        self.events.append((Kind(kind).name, number, payload, flags))

    def on_wrong_priority(self, number: int) -> None:
        """Record a wrong PRIORITY."""
        self.events.append(("wrong priority", number))


def read(data: bytes, piece: int = 1 << 30) -> tuple[Recorded, FrameReader]:
    """Read the beginning of a connection and this data, which arrive in pieces."""
    recorded = Recorded()
    reader = FrameReader(recorded, MAX_BLOCK)
    assert reader.feed(PREFACE + settings({}))
    recorded.events.clear()
    for at in range(0, len(data), piece):
        is_done = reader.feed(data[at : at + piece])
        while not is_done:  # what is left is read in another turn
            is_done = reader.feed(b"")
    return recorded, reader


@pytest.mark.parametrize("piece", [1, 2, 5, 9, 10, 11, 1 << 30])
def test_frames_may_be_cut_anywhere(piece: int) -> None:
    """Every kind of frame."""
    data = b"".join(
        (
            frame(Kind.HEADERS, END_HEADERS, 1, b"block"),
            frame(Kind.DATA, 0, 1, b"hello"),
            frame(Kind.DATA, PADDED, 1, b"\x03world" + bytes(3)),
            frame(Kind.DATA, PADDED | END_STREAM, 1, b"\0!"),
            frame(Kind.DATA, 0, 9, b"nobody's"),
            frame(Kind.HEADERS, END_STREAM, 3, b"one"),
            frame(Kind.CONTINUATION, 0, 3, b""),
            frame(Kind.CONTINUATION, END_HEADERS, 3, b"two"),
            frame(0xBE, 0, 0, b"unknown" * 100),
            frame(Kind.GOAWAY, 0, 0, bytes(8) + b"debug"),
            frame(Kind.PRIORITY, 0, 1, bytes(5)),
            frame(Kind.PRIORITY, 0, 1, bytes(4)),
            ping(flags=ACK),
            frame(Kind.DATA, END_STREAM, 1),
        )
    )
    recorded, reader = read(data, piece)

    assert recorded.events == [
        ("block", 1, b"block", 0),
        ("data", 1, 5),
        ("received", b"hello"),
        ("data", 1, 9),
        ("padding", 4),
        ("received", b"world"),
        ("data", 1, 2),
        ("padding", 1),
        ("received", b"!"),
        ("end",),
        ("data", 9, 8),
        ("block", 3, b"onetwo", END_STREAM),
        ("wrong priority", 1),
        ("PING", 0, b"01234567", ACK),
        ("data", 1, 0),
        ("end",),
    ]
    assert not reader.is_incomplete


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (frame(Kind.HEADERS, END_HEADERS, 1, bytes(MAX_BLOCK + 1)), ErrorCode.ENHANCE_YOUR_CALM),
        (frame(Kind.SETTINGS, 0, 0, bytes(6 * 257)), ErrorCode.ENHANCE_YOUR_CALM),
        (frame(Kind.PING, 0, 0, bytes(9)), ErrorCode.FRAME_SIZE_ERROR),
        (frame(Kind.RST_STREAM, 0, 1, bytes(1000)), ErrorCode.FRAME_SIZE_ERROR),
        (frame(Kind.WINDOW_UPDATE, 0, 1, bytes(5)), ErrorCode.FRAME_SIZE_ERROR),
        (frame(Kind.GOAWAY, 0, 0, bytes(7)), ErrorCode.FRAME_SIZE_ERROR),
        (frame(Kind.PUSH_PROMISE, 0, 1, bytes(100)), ErrorCode.PROTOCOL_ERROR),
        (frame(0xBE, 0, 0, bytes(2**20 + 1)), ErrorCode.FRAME_SIZE_ERROR),
    ],
    ids=["HEADERS", "SETTINGS", "PING", "RST_STREAM", "WINDOW_UPDATE", "GOAWAY", "PUSH_PROMISE", "unknown"],
)
def test_invalid_frames_are_refused_when_their_head_has_arrived(head: bytes, code: ErrorCode) -> None:
    """A frame that is too long, or not allowed, is refused by its first nine bytes."""
    with pytest.raises(ConnectionFailedError) as error:
        read(head[:9])
    assert error.value.code == code


def test_pieces_of_a_large_frame_are_not_kept() -> None:
    """Whether the frame is skipped or received by a stream."""
    for kind, number in ((0xBE, 0), (Kind.DATA, 1), (Kind.DATA, 9)):
        recorded, reader = read(frame(kind, 0, number, bytes(2**20))[:-1], 1000)
        assert len(reader._rest) == 0
        assert reader.is_incomplete == (kind == 0xBE)
        parts = [event[1] for event in recorded.events if event[0] == "received"]
        assert [len(part) for part in parts if isinstance(part, bytes)] == ([2**20 - 1] if number == 1 else [])


def test_reading_many_frames_is_interrupted() -> None:
    """After some hundred frames, or some kilobytes of header blocks, until the next iteration of the loop."""
    for data in (ping() * 1000, frame(Kind.HEADERS, END_HEADERS, 1, bytes(MAX_BLOCK)) * 20):
        recorded = Recorded()
        reader = FrameReader(recorded, MAX_BLOCK)
        reader.feed(PREFACE + settings({}))
        turns = 1
        is_done = reader.feed(data)
        while not is_done:
            turns += 1
            is_done = reader.feed(b"")
        assert turns > 2
        assert len(recorded.events) == 1 + len(data) // (9 + int.from_bytes(data[:3], "big"))


def test_frames_that_come_late_in_a_turn_are_left_for_the_next() -> None:
    """But for the rest of a frame whose beginning was read."""
    recorded = Recorded()
    reader = FrameReader(recorded, MAX_BLOCK)
    cut = frame(Kind.DATA, 0, 1, b"12345678")
    assert reader.feed(PREFACE + settings({}) + cut[:-3])
    before = len(recorded.events)
    assert not reader.feed(cut[-3:] + ping() * 3, is_late=True)
    assert len(recorded.events) == before
    assert recorded.events[-1] == ("received", b"12345678")
    assert reader.feed(b"")
    assert len(recorded.events) == before + 3


def test_many_requests_are_read_in_several_turns() -> None:
    """All requests that are read in one turn are parsed in the next iteration of the loop, for some 60 us each."""
    recorded = Recorded()
    reader = FrameReader(recorded, MAX_BLOCK)
    reader.feed(PREFACE + settings({}))
    recorded.events.clear()
    ends = frame(Kind.HEADERS, END_HEADERS, 1, b"x") + frame(Kind.DATA, END_STREAM, 1, b"y")
    sizes, is_done = [], reader.feed(ends * 500)
    while True:
        sizes.append(len(recorded.events))
        recorded.events.clear()
        if is_done:
            break
        is_done = reader.feed(b"")
    events_of_one = sum(sizes) // 500
    assert max(sizes) <= 64 * events_of_one


def test_endless_header_blocks_end_the_connection() -> None:
    """Many CONTINUATION frames, or large ones."""
    begun = frame(Kind.HEADERS, 0, 1, b"x")
    for more in (frame(Kind.CONTINUATION, 0, 1) * 100, frame(Kind.CONTINUATION, 0, 1, bytes(300)) * 4):
        with pytest.raises(ConnectionFailedError) as error:
            read(begun + more)
        assert error.value.code == ErrorCode.ENHANCE_YOUR_CALM
