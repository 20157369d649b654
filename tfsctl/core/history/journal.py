"""The journal of a model: `.tfsctl-history.jsonl` in its directory, one JSON document a line, oldest first.

Processes append to it at the same time: each line is one write with O_APPEND, under a lock of the file. TensorFlow
Serving ignores the file, because its name is not a number.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
from pathlib import Path

from tfsctl.core.history.event import Event

JOURNAL_FILE = ".tfsctl-history.jsonl"


def append(base: Path, event: Event) -> str:
    """Record an event in the model directory `base`, unless it is recorded already.

    Returns a note if the journal cannot be written, otherwise an empty string: the change itself has been made.
    """
    try:
        descriptor = os.open(base / JOURNAL_FILE, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        return f"the history was not written: {base / JOURNAL_FILE}: {error.strerror}"
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        size = os.fstat(descriptor).st_size
        text = os.pread(descriptor, size, 0)
        if event.id.encode() in text:
            return ""
        start = b"" if not text or text.endswith(b"\n") else b"\n"  # the last writer was killed
        line = start + json.dumps(event.to_document(), ensure_ascii=False).encode() + b"\n"
        _write_whole(descriptor, line, size)
    except OSError as error:
        return f"the history was not written: {base / JOURNAL_FILE}: {error.strerror}"
    finally:
        os.close(descriptor)
    return ""


def _write_whole(descriptor: int, line: bytes, size: int) -> None:
    """Append a line to a file of `size` bytes, or leave the file as it was. Raises OSError."""
    if os.write(descriptor, line) < len(line):
        os.ftruncate(descriptor, size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def read(base: Path) -> list[Event]:
    """The events of the model directory `base`, oldest first. Lines that are not events are skipped."""
    try:
        return _events((base / JOURNAL_FILE).read_bytes())
    except OSError:
        return []


def _events(text: bytes) -> list[Event]:
    events: list[Event] = []
    for line in text.splitlines():
        try:
            events.append(Event.from_document(json.loads(line)))
        except (ValueError, TypeError, AttributeError, RecursionError):  # half a line, or not ours
            continue
    return events
