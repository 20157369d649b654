"""How much memory a JSON document takes when it is decoded, estimated before it is decoded."""

from __future__ import annotations

from tfsctl.server.process.loop_yield import yield_to_loop
from tfsctl.server.status import Code, ServingError

_BYTES_OF = {b"[": 90, b"{": 240, b",": 40}  # of a list, a dict with a key, and a value in either, in CPython
_SLICE_BYTES = 1024 * 1024  # counted at once, during which no other thread runs


def check_decoded_size(body: bytes, limit: int) -> None:
    """Raise RESOURCE_EXHAUSTED if decoding a body would take more than `limit` bytes."""
    size = 2 * len(body)
    for at in range(0, len(body), _SLICE_BYTES):
        end = at + _SLICE_BYTES
        size += sum(bytes_each * body.count(character, at, end) for character, bytes_each in _BYTES_OF.items())
        yield_to_loop()
        if size > limit:
            raise ServingError(
                Code.RESOURCE_EXHAUSTED,
                f"Decoding the request would take more memory than one request may use ({limit} bytes)",
            )
