"""Low-priority threads: the threads that run and load models must not delay the threads that serve requests.

Running a model uses all the CPU there is. The event loop needs little CPU, but needs it at once: if it competes with a
model on equal terms, every other request waits for that model. On Linux each thread has its own nice value, and
the threads that it starts (TensorFlow's thread pools) inherit it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

_NICE_INCREMENT = 10  # a tenth of the CPU weight of a thread with the default nice value


def lower_priority() -> None:
    """Lower the priority of this thread and of the threads it starts later. Does nothing where this is not possible."""
    with contextlib.suppress(OSError, AttributeError):
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICE_INCREMENT)


async def run_in_low_priority_thread(work: Callable[..., None], *arguments: object) -> None:
    """Call `work` in a low-priority thread that ends afterwards."""
    with ThreadPoolExecutor(1, "background", initializer=lower_priority) as thread:
        await asyncio.get_running_loop().run_in_executor(thread, work, *arguments)
