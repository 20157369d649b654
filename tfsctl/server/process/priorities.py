"""Threads that give way: those that run and load models leave the processor to those that take and answer requests.

A model's run takes all the processor there is. The event loop and the server's own threads need little of it, but at
once, or every other request waits for that run. The scheduler knows which is which by the threads' nice values, which a
thread on Linux has for itself, and the threads that it starts (TensorFlow's pools) take from it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_NICER_BY = 10  # a tenth of the weight of the other threads, where they compete


def give_way() -> None:
    """Let this thread, and those that it will start, give way to the others; nothing happens where that cannot be."""
    with contextlib.suppress(OSError, AttributeError):
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICER_BY)


def executor(threads: int, name: str) -> ThreadPoolExecutor:
    """Threads that give way."""
    return ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=give_way)


async def run(work: Callable[..., None], *arguments: object) -> None:
    """Do something in a thread of its own that gives way."""
    with executor(1, "background") as thread:
        await asyncio.get_running_loop().run_in_executor(thread, work, *arguments)
