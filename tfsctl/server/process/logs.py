"""Writes the log to stderr on a separate thread, so that a reader that stops reading does not block the server.

Lines wait in a bounded queue. If it is full, new lines are dropped. A full disk or a closed pipe loses lines too.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from contextlib import suppress
from typing import TextIO

from tfsctl.core.json_strings import escape_controls

FORMAT = "%(asctime)s %(levelname).1s %(message)s"
_MAX_QUEUED = 10_000
_FLUSH_S = 1.0


class _Handler(logging.Handler):
    """Formats records in the calling thread and writes them in its own."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(FORMAT))
        self._lines: queue.Queue[str] = queue.Queue(_MAX_QUEUED)
        threading.Thread(target=self._write, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue one record."""
        self.queue_line(self.format(record))

    def queue_line(self, line: str) -> None:
        """Queue one formatted line."""
        with suppress(queue.Full):
            self._lines.put_nowait(line)

    def flush(self) -> None:
        """Wait until all lines are written, for a second at most."""
        deadline_s = time.monotonic() + _FLUSH_S
        while self._lines.unfinished_tasks and time.monotonic() < deadline_s:
            time.sleep(0.005)

    def _write(self) -> None:
        while True:
            line = self._lines.get()
            write_line(sys.stderr, line)
            self._lines.task_done()


def write_line(stream: TextIO, text: str) -> None:
    """Write and flush a line in one piece, so that no other thread's output ends up inside it. Clients' text is escaped."""
    with suppress(OSError, ValueError):  # a full disk or a closed stream must not stop the server
        stream.write(f"{escape_controls(text)}\n")
        stream.flush()


def start() -> None:
    """Send the log to stderr through the writing thread from now on."""
    logging.basicConfig(level=logging.INFO, handlers=[_Handler()], force=True)


def forward(line: str) -> None:
    """Write a line that was already formatted, in order with the log's own lines."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Handler):
            handler.queue_line(line)
            return
    write_line(sys.stderr, line)


def flush() -> None:
    """Write all queued lines. Call it before `os._exit`, which would lose them."""
    for handler in logging.getLogger().handlers:
        handler.flush()
