"""The files of a request log: numbered TFRecord files, each with an index of JSON lines if asked for.

Files are created with mode 0600 and never overwritten. A batch of records is one write, and the disk is synchronised
at most once a second, so a file is readable up to its last whole record whenever the process ends.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfsctl.core.tfrecord import write_records
from tfsctl.serving_config.request_logging import RequestLogging

SYNC_INTERVAL_S = 1.0
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
_OWNER_ONLY = 0o600


class RecordFiles:
    """Appends records to the current file, and begins the next one when it is full. Used by one thread."""

    def __init__(self, logging: RequestLogging) -> None:
        self._logging = logging
        self._records: _AppendFile | None = None
        self._index: _AppendFile | None = None
        self._opened = 0
        self._earlier_bytes = 0
        self._record_count = 0
        self._unsynced_since_s: float | None = None

    @property
    def total_bytes(self) -> int:
        """The size of the records of all files."""
        return self._earlier_bytes + (self._records.size if self._records else 0)

    @property
    def seconds_to_sync(self) -> float | None:
        """How long until the next `sync` is due; None if all is on disk."""
        if self._unsynced_since_s is None:
            return None
        return max(0.0, self._unsynced_since_s + SYNC_INTERVAL_S - time.monotonic())

    def append(self, entries: Sequence[tuple[bytes | None, Mapping[str, object]]]) -> None:
        """Write records, and a line of the index for each. Without a record (None), only the line is written.

        Raises OSError; the files then end with their last whole record and line.
        """
        current = self._records or self._open()
        records = io.BytesIO()
        write_records(records, (record for record, _ in entries if record is not None))
        current.append(records.getvalue())
        lines: list[str] = []
        for record, line in entries:
            place = {"file": current.path.name, "record": self._record_count} if record is not None else {}
            self._record_count += record is not None
            lines.append(json.dumps({**line, **place}) + "\n")
        if self._index is not None:
            self._index.append("".join(lines).encode())
        if self._unsynced_since_s is None:
            self._unsynced_since_s = time.monotonic()
        if current.size >= self._logging.max_file_bytes:
            self.close()
        elif self.seconds_to_sync == 0:
            self.sync()

    def sync(self) -> None:
        """Wait until the disk has everything. Raises OSError."""
        self._unsynced_since_s = None
        for file in filter(None, (self._records, self._index)):
            os.fsync(file.descriptor)

    def close(self) -> None:
        """Synchronise and close the current files; the next record begins new ones. Raises OSError."""
        files = [file for file in (self._records, self._index) if file is not None]
        self._earlier_bytes, self._record_count = self.total_bytes, 0
        try:
            self.sync()
        finally:
            self._records = self._index = None
            for file in files:
                os.close(file.descriptor)

    def _open(self) -> _AppendFile:
        """Open the next files, with a number that no existing file has. Returns the file of records."""
        begun = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        while True:
            self._opened += 1
            stem = f"{self._logging.filename_prefix}-{begun}-{self._opened:04d}"
            try:
                records = self._records = _AppendFile(Path(f"{stem}.tfrecord"))
                self._index = _AppendFile(Path(f"{stem}.jsonl")) if self._logging.index else None
            except FileExistsError:
                continue
            return records


class _AppendFile:
    """A file that is written at its end, batch by batch."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, _FLAGS, _OWNER_ONLY)
        self.size = 0

    def append(self, data: bytes) -> None:
        """Write all of `data`, or nothing and raise OSError."""
        view, written = memoryview(data), 0
        try:
            while written < len(data):
                written += os.write(self.descriptor, view[written:])
        except OSError:
            os.ftruncate(self.descriptor, self.size)
            raise
        self.size += written
