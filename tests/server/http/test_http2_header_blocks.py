"""Header blocks of HTTP/2 requests, and their dynamic table (RFC 7541)."""

from __future__ import annotations

import json
import random

import pytest
from hpack import Encoder
from http2_client import (
    END_HEADERS,
    END_STREAM,
    PADDED,
    PRIORITY,
    Client,
    Kind,
    Setting,
    connected,
    frame,
    get_fields,
    grpc_fields,
    header_frames,
    message,
    stateless,
)
from model_servers import Served

pytestmark = pytest.mark.server


@pytest.mark.parametrize("padding", [0, 1, 255])
@pytest.mark.parametrize("priority", [b"", bytes(5), b"\x80\0\0\0\xff", b"\0\0\0\x63\x10"])
def test_padding_and_priority_are_removed(client: Client, padding: int, priority: bytes) -> None:
    """From HEADERS; padding from DATA too."""
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


def test_a_header_block_may_be_split_anywhere(client: Client) -> None:
    """In the middle of a name or a length, and at its ends."""
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


def test_end_stream_of_split_headers_counts_at_the_end_of_the_block(rest_client: Client) -> None:
    """With padding."""
    stream, block = rest_client.new_stream(), stateless(get_fields(x_long="x" * 3000))
    flags = END_STREAM | PADDED | PRIORITY
    rest_client.send(
        frame(Kind.HEADERS, flags, stream, b"\x09" + bytes(5) + block[:10] + bytes(9)),
        frame(Kind.CONTINUATION, 0, stream, block[10:1000]),
        frame(Kind.CONTINUATION, END_HEADERS, stream, block[1000:]),
    )

    assert rest_client.answer(stream).json()


def test_many_header_fields_are_accepted(client: Client) -> None:
    """Metadata of 6 kB, in fields of all sizes."""
    metadata = {f"x_{number}": "v" * number * 3 for number in range(60)}
    stream = client.start(grpc_fields(**metadata))
    client.send(frame(Kind.DATA, END_STREAM, stream, message()))

    assert client.answer(stream).values().tolist() == [1.5]


def test_the_dynamic_table_follows_the_client(rest_client: Client) -> None:
    """Paths are repeated in errors: each is decoded correctly, whatever has entered and left the table."""
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

    for stream, reason in expected.items():
        assert rest_client.answer(stream).status == 404
        assert json.loads(rest_client.answers[stream].body)["error"] == reason


def test_blocks_that_differ_in_one_field_are_decoded(client: Client) -> None:
    """The usual gRPC client: only the deadline is another in each call."""
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


def test_repeated_blocks_are_decoded(client: Client) -> None:
    """Five thousand calls on a connection, with nothing but indices."""
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
def test_the_client_may_change_the_table_size(client: Client, sizes: list[int]) -> None:
    """Smaller and larger, up to the server's limit (RFC 7541, section 6.3)."""
    for number in range(5):
        assert client.answer(client.start(grpc_fields(x_number=str(number)), end=True)).is_over
        for size in sizes:
            client.encoder.header_table_size = size
        assert client.works()
        assert client.works()
        client.encoder.header_table_size = 4096


def test_a_header_table_size_of_zero_is_announced(server: Served) -> None:
    """The server's next block begins with a size update (section 4.3.1)."""
    with connected(server.grpc_port, {Setting.HEADER_TABLE_SIZE: 0}) as client:
        client.sync()
        client.decoder.max_allowed_table_size = 0  # from here on a block that does not say so is an error
        assert client.works()
        assert client.works()
