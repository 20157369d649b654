"""Follow a log line by line, in a thread: a growing file, or the output of a program such as `docker logs`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from tfsctl.programs import subprocesses

_POLL_S = 0.05
_DRAIN_S = 2.0  # how long `stop` waits for the rest of a log

ShowLine = Callable[[str], None]


class FileFollower:
    """Passes each line that is added to a file to `show`, until `stop`."""

    def __init__(self, path: Path, show: ShowLine) -> None:
        self._path, self._show = path, show
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Show what was written until now, and stop following."""
        self._stopped.set()
        self._thread.join(_DRAIN_S)

    def _follow(self) -> None:
        """Show each whole line as it is written, and an unfinished one at the end."""
        partial = ""
        with self._path.open(encoding="utf-8", errors="replace") as log:
            while True:
                last_read = self._stopped.is_set()  # checked before reading, so that what was written before is shown
                *lines, partial = (partial + log.read()).split("\n")
                for line in lines:
                    self._show(line)
                if last_read:
                    break
                self._stopped.wait(_POLL_S)
        if partial:
            self._show(partial)


class ProgramFollower:
    """Passes each line that a program prints to `show`, until the program ends or `stop`."""

    def __init__(self, argv: Sequence[str], show: ShowLine) -> None:
        """Start the program. Raises ProgramFailed if it cannot be started."""
        self._program = subprocesses.StreamingProgram(argv)
        self._show = show
        self._thread = threading.Thread(target=self._follow, name="log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Show what the program still prints, for a moment, and stop it."""
        self._thread.join(_DRAIN_S)
        self._program.stop()
        self._thread.join(_DRAIN_S)

    def _follow(self) -> None:
        for line in self._program.lines():
            self._show(line)
