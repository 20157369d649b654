"""WorkerThreads for tests that run work at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tfsctl.server.status import ServingError


class FakeThreads:
    """Runs work on the event loop, and keeps its sizes. All instances share the list."""

    sizes: list[int] = []  # noqa: RUF012 - replaced by `take_place`

    def __init__(self, _name: str) -> None:
        """Threads of any name."""

    @classmethod
    def take_place(cls, monkeypatch: pytest.MonkeyPatch, module: object) -> list[int]:
        """Replace the WorkerThreads of a module. Returns the list of sizes, which is empty."""
        monkeypatch.setattr(module, "WorkerThreads", cls)
        monkeypatch.setattr(cls, "sizes", [])
        return cls.sizes

    def run(self, size: int, work: Callable[..., Any], *arguments: object) -> asyncio.Future[Any]:
        """Run work, and keep its size."""
        self.sizes.append(size)
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            done.set_result(work(*arguments))
        except ServingError as error:
            done.set_exception(error)
        return done
