"""Log lines to stderr from a thread of their own: a reader that has stopped reading must not stop the server.

Lines wait in a bounded queue; where nobody takes them, the newest are dropped. A full disk or a closed pipe loses them.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from contextlib import suppress
from typing import TextIO

FORMAT = "%(asctime)s %(levelname).1s %(message)s"
_MAX_WAITING = 10_000
_FLUSH_S = 1.0


class _Handler(logging.Handler):
    """Formats a record where it is made, and leaves the writing to the thread."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(FORMAT))
        self._lines: queue.Queue[str] = queue.Queue(_MAX_WAITING)
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record."""
        with suppress(queue.Full):
            self._lines.put_nowait(self.format(record))

    def flush(self) -> None:
        """Wait until everything is written, a second at most."""
        last_look_s = time.monotonic() + _FLUSH_S
        while self._lines.unfinished_tasks and time.monotonic() < last_look_s:
            time.sleep(0.005)

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            write_line(sys.stderr, line)
            self._lines.task_done()


def write_line(stream: TextIO, text: str) -> None:
    """Write a line at once and in one piece, so that what another thread or stream writes never stands within it."""
    with suppress(OSError, ValueError):  # a full disk, a closed pipe, a closed stream: no reason not to serve
        stream.write(f"{text}\n")
        stream.flush()


def start() -> None:
    """Send the log to stderr from now on."""
    logging.basicConfig(level=logging.INFO, handlers=[_Handler()], force=True)


def flush() -> None:
    """Write what waits, before the process ends in a way that would leave it unwritten."""
    for handler in logging.getLogger().handlers:
        handler.flush()
