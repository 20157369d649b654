"""Clients that are too slow: bodies that trickle in, answers that nobody reads, connections that are slow to close.

Also clients that have closed their side of an HTTP/1 connection (FIN). Such a client may still read its answers (`printf …
| nc`), or may have left; TCP does not tell which. A request whose run has begun is answered. A request that waits for its
run is refused, so that other clients do not wait for runs whose answers nobody reads:

- at once, if the FIN arrives later than `LATE_FIN_S` after the last bytes. A client that only stops sending sends it with
  the last bytes; this client has probably given up.
- otherwise if it waits at two checks that are `HALF_CLOSED_WAIT_S` apart. What the request took before it waited does not count.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from traceback import clear_frames
from typing import Any, TypeVar

from tfsctl.server.limits import Limits
from tfsctl.server.request_body import RequestBody
from tfsctl.server.status import Code, ServingError

_MIN_READ_BYTES = 64 * 1024  # that a client has to read in `write_stall_timeout_s`, if so much waits for it
_LINGER_CHECK_S = 0.5
_MAX_LINGER_CHECKS = 10
DRAIN_IDLE_S = 5.0
"""How long a connection may be idle after another process has taken over the ports."""
LATE_FIN_S = 0.1
HALF_CLOSED_WAIT_S = 1.0
_T = TypeVar("_T")


async def within(timeout_s: float | None, work: Coroutine[Any, Any, _T]) -> _T:
    """Await `work`, and cancel it after `timeout_s` with asyncio.TimeoutError. None is no limit.

    An exception of the work does not keep the work's variables in memory. With `wait_for` alone, they would stay until
    the next garbage collection: its frame refers to the task that raised the exception, which refers to the frame.
    """
    try:
        return await asyncio.wait_for(work, timeout_s)
    except BaseException as error:
        clear_frames(error.__traceback__)
        raise


def arrives_too_slowly(limits: Limits, body: RequestBody, elapsed_s: float) -> bool:
    """Whether a body arrives too slowly that began `elapsed_s` ago. Time in which it waited for memory does not count.

    A body that keeps others waiting for memory has to arrive within `body_grace_s`.
    """
    if body.waits_for_memory:
        return False
    return is_slow_body(limits, elapsed_s - body.waited_s, 0 if body.keeps_others_waiting else body.size)


def is_slow_body(limits: Limits, elapsed_s: float, received: int) -> bool:
    """Whether a body of which `received` bytes arrived within `elapsed_s` is slower than the limits allow."""
    grace_s = limits.body_grace_s
    return grace_s is not None and elapsed_s - grace_s > received / limits.body_bytes_per_s


def half_closed_error() -> ServingError:
    """The error of a request that would have to wait for its run, though its client may have left."""
    reason = "a request whose client has closed its side of the connection would have to wait"
    return ServingError(
        Code.RESOURCE_EXHAUSTED, f"The server is overloaded: {reason}. Retry after 1 s.", retry_after_s=1
    )


class WriteStall:
    """Detects a client that reads nothing, or almost nothing, of its response."""

    __slots__ = ("_left", "_since_s", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._left = 0  # bytes that waited to be sent when the client was last found to read
        self._since_s = 0.0

    def lasts(self, now_s: float, longest_s: float | None) -> bool:
        """Whether the client has read too little for longer than `longest_s` (None: no limit). Call it every few seconds."""
        left = self._transport.get_write_buffer_size()
        if not left or not self._left or self._left - left >= min(self._left, _MIN_READ_BYTES):
            self._left, self._since_s = left, now_s
            return False
        return longest_s is not None and now_s - self._since_s > longest_s


class Linger:
    """Closes a connection once its client is silent, or after some seconds.

    Closing it at once, with bytes of the client unread, would make the kernel send a reset, and the client might lose
    the response.
    """

    __slots__ = ("_has_received", "_left", "_loop", "_transport")

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.Transport) -> None:
        self._loop, self._transport = loop, transport
        self._has_received = False
        self._left = _MAX_LINGER_CHECKS
        loop.call_later(_LINGER_CHECK_S, self._check)

    def data_received(self) -> None:
        """The client has sent data that is discarded."""
        self._has_received = True

    def _check(self) -> None:
        self._left -= 1
        if self._transport.is_closing():
            return
        if self._has_received and self._left:
            self._has_received = False
            self._loop.call_later(_LINGER_CHECK_S, self._check)
        else:
            self._transport.close()
