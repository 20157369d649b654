"""Reads the requests of an A/B test from Envoy's access log, and counts them in an ExposureStore.

Envoy writes a JSON line for each split request while an A/B test runs. The log is replaced when it is large, so that the
disk does not fill up.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from tfsctl.rollout.experiment.exposure_store import Exposure, ExposureStore, Position

MAX_LOG_BYTES = 16 << 20
_READ_BYTES = 8 << 20
# One field of a line each, as Envoy's format: docs "Access logging", command operators.
LINE_FORMAT = {
    "experiment": "%REQ(x-tfsctl-experiment)%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "status": "%RESPONSE_CODE%",
    "grpc": "%GRPC_STATUS_NUMBER%",
    "us": "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
}
HEADER = "x-tfsctl-experiment"


def header_value(experiment: str, key_header: str) -> str:
    """What Envoy sets the header `HEADER` of a split request to: the id of the A/B test and the key of the request.

    The value must not end with a space: servers refuse that over HTTP/2.
    """
    return f"{experiment}=%REQ({key_header})%"


class ExposureLog:
    """Envoy's log at `path`, read as it grows."""

    def __init__(self, path: Path, store: ExposureStore, reopen: Callable[[], None]) -> None:
        """`reopen` has Envoy open its log again."""
        self._path, self._store, self._reopen = path, store, reopen
        self._experiment: str | None = None
        self._file: BinaryIO | None = None
        self._position = Position()
        self._is_replaced = False

    def update(self, experiment: str, description: Mapping[str, Any], version_of: Mapping[str, int]) -> None:
        """Count the new lines of an A/B test.

        `version_of` tells the version behind each of Envoy's clusters. `description` is stored with the counts.

        Raises sqlite3.Error and OSError; the lines are counted by a later call then.
        """
        if experiment != self._experiment:
            self._position = self._store.begin(experiment, description)
            self._experiment = experiment
            self.close()
        while self._file is not None or self._open():
            has_successor = self._has_successor()  # before the read: Envoy may still write to a file without one
            data = self._read()
            if data:
                self._count(data, version_of)
            elif has_successor:
                self.close()
            else:
                break
        if self._position.offset > MAX_LOG_BYTES and not self._is_replaced:
            self._path.unlink(missing_ok=True)  # the rest of it can be read through the open file
            self._is_replaced = True
            self._reopen()

    def _open(self) -> bool:
        try:
            self._file = self._path.open("rb")
        except FileNotFoundError:
            return False
        inode = os.fstat(self._file.fileno()).st_ino
        if inode != self._position.inode:
            self._position = Position(inode, 0)
        self._is_replaced = False
        return True

    def _read(self) -> bytes:
        """The next whole lines."""
        assert self._file is not None  # noqa: S101 - opened by the caller
        self._file.seek(self._position.offset)
        data = self._file.read(_READ_BYTES)
        return data[: data.rfind(b"\n") + 1]

    def _count(self, data: bytes, version_of: Mapping[str, int]) -> None:
        exposures = [
            found for line in data.splitlines() if (found := _parse(line, self._experiment, version_of)) is not None
        ]
        position = Position(self._position.inode, self._position.offset + len(data))
        self._store.add(exposures, position)
        self._position = position

    def _has_successor(self) -> bool:
        """Whether Envoy writes to a new file now."""
        try:
            return os.stat(self._path).st_ino != self._position.inode
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Close the log. `update` opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _parse(line: bytes, experiment: str | None, version_of: Mapping[str, int]) -> Exposure | None:
    """The request of a line; None for one of another A/B test, or one that was not answered."""
    try:
        fields: Any = json.loads(line)
    except (RecursionError, ValueError):
        return None
    if not isinstance(fields, dict):
        return None
    name, _, key = (fields.get("experiment") or "").partition("=")
    version = version_of.get(fields.get("cluster") or "")
    status, grpc = int(fields.get("status") or 0), fields.get("grpc")
    if name != experiment or version is None or status == 0:
        return None
    is_error = int(grpc) != 0 if grpc is not None else status >= 400
    return Exposure(version, None if key in ("", "-") else key, is_error, float(fields.get("us") or 0))
