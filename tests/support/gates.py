"""A gate inside a model: its runs wait there until the test opens it, so no test depends on how fast the machine is.

The model writes to two named pipes (`GraphModel.gate`). The first tells the test that a run has begun. The second cannot
be opened to write until the test opens it to read: there the run waits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from waiting import wait_for


class Gate:
    """A closed gate; its pipes are files in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.begun, self.go = folder / "begun", folder / "go"
        os.mkfifo(self.begun)
        os.mkfifo(self.go)
        self.is_open = False
        self._runs = 0
        self._readers = [os.open(self.begun, os.O_RDONLY | os.O_NONBLOCK)]

    @property
    def runs(self) -> int:
        """The number of runs that have reached the gate."""
        with suppress(BlockingIOError):  # no run since the last call
            self._runs += len(os.read(self._readers[0], 65536))
        return self._runs

    def wait_for_run(self, number: int = 1) -> None:
        """Wait until this number of runs have reached the gate."""
        wait_for(lambda: self.runs >= number)

    def open(self) -> None:
        """Let all runs pass from now on."""
        self.is_open = True
        self._readers.append(os.open(self.go, os.O_RDONLY | os.O_NONBLOCK))

    def shut(self) -> None:
        """Make runs wait again."""
        self.is_open = False
        os.close(self._readers.pop())

    def release(self) -> None:
        """Close the files; the model can no longer be run."""
        for reader in self._readers:
            os.close(reader)


@contextmanager
def closed_gate(folder: Path) -> Iterator[Gate]:
    """A gate that is closed at first. Stop the process that runs the model before you leave the block."""
    gate = Gate(folder)
    try:
        yield gate
    finally:
        gate.release()
