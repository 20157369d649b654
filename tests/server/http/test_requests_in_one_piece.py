"""Bytes that open a stream and more: reset it, or fill its header block, before the application has seen it."""

from __future__ import annotations

import asyncio

import pytest
from http2_client import (
    END_STREAM,
    PREFACE,
    Kind,
    frame,
    get_fields,
    header_frames,
    ping,
    reset,
    settings,
    stateless,
)
from ports import HOST, free_ports
from waiting import PATIENCE_S

from tfsctl.server.http.exchange import Exchange
from tfsctl.server.http.hpack_cache import HeaderBlockReader
from tfsctl.server.http.listener import Address, Listener
from tfsctl.server.limits import KIB

_BEGIN = PREFACE + settings({})
# hpack compresses a value in quadratic time, so the 60 KiB are several values.
_LARGE_HEAD = stateless(get_fields(**{f"x{number}": "v" * 2 * KIB for number in range(30)}))


async def _targets_of(data: bytes, *, held_bytes: int) -> list[str]:
    """The targets of the requests that reach the application, up to `/last`, which is not answered."""
    targets: list[str] = []
    last = asyncio.Event()

    async def serve(exchange: Exchange) -> None:
        targets.append(exchange.target)
        if exchange.target == "/last":
            last.set()
        await exchange.until_gone()

    (port,) = free_ports(1)
    listener = Listener(serve, [Address(HOST, port)], max_connections=10, held_bytes=held_bytes)
    await listener.start()
    _, writer = await asyncio.open_connection(HOST, port)
    writer.write(data)
    await asyncio.wait_for(last.wait(), PATIENCE_S)
    writer.close()
    await listener.stop()
    assert listener.state.budget.used == 0
    return targets


def _get(number: int, block: bytes) -> bytes:
    return header_frames(number, block, END_STREAM)


_LAST = _get(2001, stateless(get_fields("/last")))


def test_a_stream_that_is_reset_at_once_is_not_served() -> None:
    """It costs no more than its bytes."""
    block = stateless(get_fields("/reset"))
    flood = b"".join(_get(number, block) + reset(number) for number in range(1, 80, 2))

    assert asyncio.run(_targets_of(_BEGIN + flood + _LAST, held_bytes=2**20)) == ["/last"]


def test_large_header_blocks_count_in_the_memory_budget() -> None:
    """Of twenty requests with heads of 60 KiB, a budget of 256 KiB lets a few in."""
    heads = b"".join(_get(number, _LARGE_HEAD) for number in range(1, 40, 2))
    targets = asyncio.run(_targets_of(_BEGIN + heads + _LAST, held_bytes=256 * KIB))

    assert 2 <= len(targets) <= 8


def test_streams_of_a_connection_that_fails_hold_nothing() -> None:
    """Streams that are opened by the same bytes as a connection error are not served."""

    async def run() -> int:
        (port,) = free_ports(1)
        listener = Listener(_never, [Address(HOST, port)], max_connections=10, held_bytes=2**20)
        await listener.start()
        reader, writer = await asyncio.open_connection(HOST, port)
        large_head = stateless(get_fields(x="v" * 5000))
        writer.write(_BEGIN + _get(1, large_head) + ping(b"short"))
        await asyncio.wait_for(reader.read(), PATIENCE_S)
        writer.close()
        await listener.stop()
        return listener.state.budget.used

    assert asyncio.run(run()) == 0


async def _never(_exchange: Exchange) -> None:
    raise AssertionError


_PARTIAL_HEAD = b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"v" * 60 * KIB
_PARTIAL_FRAME = _BEGIN + (60 * KIB).to_bytes(3, "big") + b"\x01\x04\0\0\0\x01" + b"v" * 59 * KIB
_PARTIAL_BLOCK = _BEGIN + frame(Kind.HEADERS, 0, 1, _LARGE_HEAD)


@pytest.mark.parametrize(
    ("data", "answer"),
    [(_PARTIAL_HEAD, b" 503 "), (_PARTIAL_FRAME, b"too many"), (_PARTIAL_BLOCK, b"too many")],
    ids=["head", "frame", "header block"],
)
def test_incomplete_heads_count_in_the_memory_budget(data: bytes, answer: bytes) -> None:
    """Of ten connections with 60 KiB of a head, a budget of 256 KiB lets about five wait for the rest."""

    async def run() -> tuple[list[bytes], int]:
        (port,) = free_ports(1)
        listener = Listener(_never, [Address(HOST, port)], max_connections=20, held_bytes=256 * KIB)
        await listener.start()
        clients = [await asyncio.open_connection(HOST, port) for _ in range(10)]
        for _, writer in clients:
            writer.write(data)
        readings = [asyncio.ensure_future(_until(reader, answer)) for reader, _ in clients]
        await asyncio.wait_for(asyncio.wait(readings, return_when=asyncio.FIRST_COMPLETED), PATIENCE_S)
        used = listener.state.budget.used
        for _, writer in clients:
            writer.close()
        texts = await asyncio.gather(*readings)
        await listener.stop()
        assert listener.state.budget.used == 0
        return texts, used

    texts, used = asyncio.run(run())

    assert any(answer in text for text in texts)
    assert 100 * KIB < used <= 320 * KIB


async def _until(reader: asyncio.StreamReader, answer: bytes) -> bytes:
    """What a server sends, up to this answer or the end."""
    received = b""
    while answer not in received and (data := await reader.read(65_536)):
        received += data
    return received


@pytest.mark.parametrize(("size", "is_kept"), [(500, True), (5000, False)])
def test_only_small_heads_are_cached(size: int, is_kept: bool) -> None:
    """A connection with 64 blocks of 64 KiB in its cache would hold eight megabytes."""
    reader = HeaderBlockReader(64 * KIB, 256)
    block = stateless(get_fields(x="v" * size))

    assert (reader.read(block) is reader.read(block)) is is_kept
