"""Work of clients that have left does not stay in memory until its turn."""

from __future__ import annotations

import asyncio
import threading
import weakref

from waiting import PATIENCE_S

from tfsctl.server.limits import MIB
from tfsctl.server.worker_threads import WorkerThreads


class _Body:
    """Something large."""


def test_cancelled_work_drops_its_arguments() -> None:
    """While other work keeps the thread busy, a cancelled job refers to nothing; the others are done."""
    gate = threading.Event()

    async def run() -> tuple[object, str]:
        threads = WorkerThreads("test")
        busy = threads.run(2 * MIB, gate.wait, PATIENCE_S)
        body = _Body()
        body_left = weakref.ref(body)
        cancelled = threads.run(2 * MIB, id, body)
        last = threads.run(2 * MIB, str, "last")
        del body
        assert body_left() is not None

        cancelled.cancel()
        await asyncio.sleep(0)  # for its callback
        left = body_left()
        gate.set()
        assert await busy
        return left, await last

    assert asyncio.run(run()) == (None, "last")
