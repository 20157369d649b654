"""Bytes that open a stream and more: reset it, or fill its header block, before the application has seen it."""

from __future__ import annotations

import asyncio

import pytest
from http2_client import END_STREAM, PREFACE, get_fields, header_frames, reset, settings, stateless
from ports import HOST, free_ports
from waiting import PATIENCE_S

from tfsctl.server.http.exchange import Exchange
from tfsctl.server.http.hpack_cache import HeaderBlockReader
from tfsctl.server.http.listener import Address, Listener
from tfsctl.server.limits import KIB

_BEGIN = PREFACE + settings({})
_LARGE_HEAD = stateless(get_fields(x="v" * 60 * KIB))


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


@pytest.mark.parametrize(("size", "is_kept"), [(500, True), (5000, False)])
def test_only_small_heads_are_cached(size: int, is_kept: bool) -> None:
    """A connection with 64 blocks of 64 KiB in its cache would hold eight megabytes."""
    reader = HeaderBlockReader(64 * KIB, 256)
    block = stateless(get_fields(x="v" * size))

    assert (reader.read(block) is reader.read(block)) is is_kept
