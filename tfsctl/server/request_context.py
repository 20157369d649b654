"""What is known of the request that the current task serves, without passing it through every call."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

current_client: ContextVar[object] = ContextVar("current_client", default=None)
"""Identifies the client's connection. Queues serve clients in turn, however many requests each of them sends."""

_NO_LIMIT = 2**62


class MemoryAccount(Protocol):
    """Counts the memory that is held for one request. `memory_limit` is what all requests together may hold."""

    @property
    def memory_limit(self) -> int:
        """Bytes."""

    def charge(self, size: int) -> None:
        """Count bytes until the request is over. Raises ServingError (RESOURCE_EXHAUSTED) if they are too many."""


memory_account: ContextVar[MemoryAccount | None] = ContextVar("memory_account", default=None)


def charge_memory(size: int) -> None:
    """Count bytes made of the current request, before they are allocated: an unpacked body, an expanded tensor.

    Call it on the event loop only. Raises ServingError (RESOURCE_EXHAUSTED) if the server's memory budget
    (`--max_held_megabytes`) does not allow them. Does nothing outside of a request.
    """
    account = memory_account.get()
    if account is not None:
        account.charge(size)


def max_step_bytes() -> int:
    """How much memory one step of the current request (decompressing or decoding it) may take: half of the budget."""
    account = memory_account.get()
    return _NO_LIMIT if account is None else account.memory_limit // 2
