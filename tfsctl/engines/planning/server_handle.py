"""A server that this process started: whether it runs, and if not, the error that explains why."""

from __future__ import annotations

import signal
from dataclasses import dataclass

from tfsctl.diagnosis.explanations import explain
from tfsctl.engines import state_dir
from tfsctl.engines.engine import ServerProcess
from tfsctl.engines.exit_reasons import describe_status
from tfsctl.engines.registry import records, server_log
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import DockerError, EngineError, TfsctlError

EXCERPT_LINES = 20
MAX_LINE_CHARS = 300  # longer lines are cut: a server prints its configuration in one line of thousands of characters


@dataclass(frozen=True, slots=True)
class ServerHandle:
    """A server that this process started. `log_shown` tells whether its log was already shown to the user."""

    record: ServerRecord
    process: ServerProcess
    log_shown: bool

    def exit_status(self) -> int | None:
        """Its exit status (negative: the signal that ended it), or None while it runs."""
        return self.process.exit_status()

    def failure(self) -> TfsctlError | None:
        """The error to raise if it failed; None if it runs or was stopped."""
        status = self.exit_status()
        if status is None or status in (0, -signal.SIGTERM, 128 + signal.SIGTERM):
            return None
        return self.exit_error(status, "")

    def exit_error(self, status: int, when: str) -> TfsctlError:
        """The error for its end; `when` is appended to the sentence."""
        how = "was ended by" if status < 0 else "ended with"
        end = f"{how} {describe_status(status)}" if status else "ended"
        return self._explained(f"the model server {end}{when}")

    def load_error(self) -> TfsctlError | None:
        """The error for a version that the server could not load, or None. The server would retry after a minute."""
        failures = server_log.load_failures(self.process.log_tail())
        if not failures:
            return None
        (name, version), why = next(iter(failures.items()))
        return self._explained(f"{name} version {version} cannot be loaded: {why[:MAX_LINE_CHARS]}")

    def log_excerpt(self) -> str:
        """The end of its log for an error message, unless the log was shown."""
        if self.log_shown:
            return "its log is above"
        lines = "".join(f"\n    {line[:MAX_LINE_CHARS]}" for line in self.process.log_tail()[-EXCERPT_LINES:])
        return f"the end of its log:{lines}" if lines else "its log is empty"

    def stop(self) -> None:
        """Stop it and delete its record and config files."""
        self.process.stop()
        if records.unregister(self.record):  # otherwise another command restarted it, and the files are in use
            state_dir.remove_config_files(self.record.name)

    def detach(self) -> None:
        """Let it outlive this process. Its record remains, for `tfsctl stop`."""
        self.process.detach()

    def _explained(self, what: str) -> TfsctlError:
        """The error with this message, the end of the log, and the cause if it is known."""
        reason = self.process.exit_reason()
        known = None if reason else explain("\n".join(self.process.log_tail()))
        kind = EngineError if self.record.container is None else DockerError
        error = kind(f"{what}; {self.log_excerpt()}", hint=known.hint if known else "")
        error.cause = known.cause if known else reason
        return error
