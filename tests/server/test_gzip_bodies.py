"""Compressed bodies are unpacked in pieces."""

from __future__ import annotations

import gzip
import random
import zlib
from typing import Any

import pytest

from tfsctl.server import gzip_bodies
from tfsctl.server.gzip_bodies import decompress

MIB = 1024 * 1024
GZIP = zlib.MAX_WBITS | 16
BODIES = {
    "empty": b"",
    "small": b"some text",
    "repetitive": bytes(3 * MIB),
    "random": random.Random(1).randbytes(3 * MIB),
    "both": random.Random(1).randbytes(MIB) + bytes(3 * MIB + 1),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_bodies_are_unpacked_up_to_the_limit(body: bytes) -> None:
    """Whole ones, with and without something behind them, truncated ones, and those above the limit."""
    packed = gzip.compress(body, 1)

    assert decompress(memoryview(packed), GZIP, 10 * MIB) == (body, True)
    assert decompress(memoryview(packed + b"x"), GZIP, 10 * MIB) == (body, True)
    assert not decompress(memoryview(packed[:-1]), GZIP, 10 * MIB)[1]
    plain, is_whole = decompress(memoryview(packed), GZIP, max(0, len(body) - 1))
    assert (plain, is_whole) == (body[:-1], False)


def test_damaged_bodies_are_an_error() -> None:
    """They are an error."""
    with pytest.raises(zlib.error):
        decompress(memoryview(b"no gzip"), GZIP, MIB)


def test_no_call_unpacks_much(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call copies what it unpacks while no other thread runs."""
    sizes: list[int] = []

    class Unpacker:
        """Records the sizes of what zlib returns."""

        def __init__(self, window_bits: int) -> None:
            self._inner = zlib.decompressobj(window_bits)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def decompress(self, data: bytes, limit: int) -> bytes:
            """As zlib does it."""
            plain = self._inner.decompress(data, limit)
            sizes.extend((len(data), len(plain)))
            return plain

    class FakeZlib:
        """The part of zlib that is used."""

        decompressobj = Unpacker

    monkeypatch.setattr(gzip_bodies, "zlib", FakeZlib)
    decompress(memoryview(gzip.compress(bytes(20 * MIB))), GZIP, 100 * MIB)

    assert max(sizes) <= MIB // 2
