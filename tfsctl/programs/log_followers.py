"""A log as it is written, a line at a time: the file of a process, or what a program such as `docker logs` prints."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from tfsctl.programs import subprocesses

_LOOK_S = 0.05  # how often a file is looked at
_LAST_S = 2.0  # how long the end of a log may take to come

Show = Callable[[str], None]


class FollowedFile:
    """Shows each line that is added to a file, until `stop`, which shows the rest first."""

    def __init__(self, path: Path, show: Show) -> None:
        self._path, self._show = path, show
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Show what has come until now, and look no longer."""
        self._stopped.set()
        self._thread.join(_LAST_S)

    def _follow(self) -> None:
        begun = ""
        with self._path.open(encoding="utf-8", errors="replace") as log:
            while True:
                last_look = self._stopped.is_set()  # asked before reading: what was written before is still shown
                *lines, begun = (begun + log.read()).split("\n")
                for line in lines:
                    self._show(line)
                if last_look:
                    break
                self._stopped.wait(_LOOK_S)
        if begun:
            self._show(begun)


class FollowedProgram:
    """Shows each line that a program prints, until it ends or `stop`."""

    def __init__(self, argv: Sequence[str], show: Show) -> None:
        """Start the program. Raises ProgramFailed when it cannot be."""
        self._program = subprocesses.Printing(argv)
        self._show = show
        self._thread = threading.Thread(target=self._follow, name="log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Show what it still has to say, for a moment, and end it."""
        self._thread.join(_LAST_S)
        self._program.stop()
        self._thread.join(_LAST_S)

    def _follow(self) -> None:
        for line in self._program.lines():
            self._show(line)
