"""A server this process started: whether it runs, and if it does not, why not, in one error."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

from tfsctl.diagnosis.explanations import explain
from tfsctl.engines.planning.launch_spec import Started
from tfsctl.engines.registry import records, state_dir
from tfsctl.engines.registry.records import RunningServer
from tfsctl.errors import DockerError, EngineError, TfsctlError

SHOWN_LINES = 20  # of the end of a log
LONGEST_LINE = 300  # of a log that is shown; a server's own configuration runs to thousands of characters
_LOAD_FAILED = re.compile(r"Loading servable: \{name: (\S+) version: (\d+)\} failed: (.*)")


@dataclass(frozen=True, slots=True)
class Server:
    """A server this process started. `followed` is whether its log was shown as it came."""

    entry: RunningServer
    started: Started
    followed: bool

    def ended(self) -> int | None:
        """Its exit status (negative: the signal that ended it), or None while it runs."""
        return self.started.ended()

    def failure(self) -> TfsctlError | None:
        """The error to raise if it ended by itself; None if it runs, or someone stopped it."""
        status = self.ended()
        if status is None or status in (0, -signal.SIGTERM, 128 + signal.SIGTERM):
            return None
        return self.ended_error(status, "")

    def ended_error(self, status: int, when: str) -> TfsctlError:
        """The error for its having ended by itself."""
        how = f"ended with status {status}" if status > 0 else "ended"
        if status < 0:
            how = f"was ended by {signal.Signals(-status).name}"
        return self._explained(f"the model server {how}{when}")

    def load_error(self) -> TfsctlError | None:
        """The error for a version that could not be loaded, which a server would try again after a minute."""
        found = next(
            (_LOAD_FAILED.search(line) for line in self.started.last_lines() if _LOAD_FAILED.search(line)), None
        )
        if found is None:
            return None
        name, version, why = found.groups()
        return self._explained(f"{name} version {version} cannot be loaded: {why[:LONGEST_LINE]}")

    def log_end(self) -> str:
        """The end of its log, where that was not shown already."""
        if self.followed:
            return "its log is above"
        lines = "".join(f"\n    {line[:LONGEST_LINE]}" for line in self.started.last_lines()[-SHOWN_LINES:])
        return f"the end of its log:{lines}" if lines else "its log is empty"

    def stop(self) -> None:
        """End it and forget it."""
        self.started.stop()
        if records.unregister(self.entry):  # else it was restarted by another command, with files of its own
            state_dir.forget_files(self.entry.name)

    def leave_running(self) -> None:
        """Let it outlive this process, listed for `tfsctl stop`."""
        self.started.leave_running()

    def _explained(self, what: str) -> TfsctlError:
        """The error for what happened to it, with the cause as far as it is known."""
        killed = self.started.cause()
        known = None if killed else explain("\n".join(self.started.last_lines()))
        kind = EngineError if self.entry.container is None else DockerError
        error = kind(f"{what}; {self.log_end()}", hint=known.hint if known else "")
        error.cause = known.cause if known else killed
        return error
