"""The request that the current task serves, for code that does not get it as an argument."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, Protocol

from tfsctl.server.status import Code, ServingError

_NO_LIMIT = 2**62
_STRING_BYTES = 32  # that each string takes in an array and a tensor, besides its content


class RequestContext(Protocol):
    """The context of a request that is being served: what all parts of the server know about it."""

    client: object
    """Identifies the client's connection. Queues serve clients in turn, however many requests each of them sends."""
    run: Any
    """The run (a PendingRun) that the request waits for, None before and after that."""
    is_alone: bool
    """Whether no other request is around: this one need not wait for others to share a run with."""

    @property
    def memory_limit(self) -> int:
        """How many bytes all requests together may hold."""

    def charge(self, size: int) -> None:
        """Count bytes until the request is over. Raises ServingError (RESOURCE_EXHAUSTED) if they are too many."""


current_request: ContextVar[RequestContext | None] = ContextVar("current_request", default=None)


def charge_memory(size: int) -> None:
    """Count bytes made of the current request, before they are allocated: an unpacked body, an expanded tensor.

    Call it on the event loop only. Raises ServingError (RESOURCE_EXHAUSTED) if the server's memory budget
    (`--max_held_megabytes`) does not allow them. Does nothing outside of a request.
    """
    request = current_request.get()
    if request is not None:
        request.charge(size)


def max_step_bytes() -> int:
    """How much memory one step of the current request (decompressing or decoding it) may take: half of the budget."""
    request = current_request.get()
    return _NO_LIMIT if request is None else request.memory_limit // 2


def check_string_count(count: int, nbytes: int) -> None:
    """Check that `count` strings, which take `nbytes` of the current request, do not take too much memory as an array.

    Raises RESOURCE_EXHAUSTED if they would take more than `max_step_bytes` beyond these bytes.
    """
    if _expansion(count, nbytes) > max_step_bytes():
        raise ServingError(
            Code.RESOURCE_EXHAUSTED, f"{count} strings in a request of {nbytes} bytes take more memory than allowed"
        )


def charge_strings(count: int, nbytes: int) -> None:
    """Count the memory that `count` strings take beyond the `nbytes` of their request, like `charge_memory`."""
    charge_memory(_expansion(count, nbytes))


def _expansion(count: int, nbytes: int) -> int:
    return max(0, count * _STRING_BYTES - nbytes)


def is_alone() -> bool:
    """Whether no other request is around that the current one could share work with; True outside of a request."""
    request = current_request.get()
    return request is None or request.is_alone
