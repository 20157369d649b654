"""A model server that is a process of this machine: what the binary and the embedded engine share."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tfsctl.engines import _programs, marks, ports, registry, state
from tfsctl.engines.launch import LAST_LINES, EngineName, Launch


def settled(launch: Launch) -> Launch:
    """The launch with real numbers for the ports it leaves open: to TensorFlow Serving a port of 0 is off."""
    return replace(launch, config=ports.with_free_ports(launch.config, launch.host))


def flags(launch: Launch) -> list[str]:
    """TensorFlow Serving's flags for it, with its config files written if it needs any."""
    files = launch.config.files()
    return launch.config.flags(str(state.write_files(files, name=launch.name)) if files else "")


class ProcessServer:
    """A model server run as a child process."""

    container = None

    def __init__(
        self,
        argv: Sequence[str],
        launch: Launch,
        *,
        engine: EngineName,
        detach: bool,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Run `argv`, which starts `launch`. Raises ProgramFailed when it cannot be run."""
        self.pid: int | None = None
        self.rest_port = launch.config.rest_port
        self.grpc_port = launch.config.grpc_port
        log_path = state.log_file(launch.name) if detach else None
        self.log_path = None if log_path is None else str(log_path)
        mark = marks.variable(registry.entry_of(launch, engine, self), launch.to_document())
        self._child = _programs.Child(argv, log_path=log_path, environment={**(environment or {}), **mark})
        self.pid = self._child.pid

    def ended(self) -> int | None:
        """Its exit status (negative: the signal that ended it), or None while it runs."""
        return self._child.ended()

    def last_lines(self) -> list[str]:
        """The last lines of its log file; none if its log went to our stderr."""
        if self.log_path is None:
            return []
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return [line.rstrip("\n") for line in deque(log, maxlen=LAST_LINES)]

    def stop(self) -> None:
        """End it; returns when it is gone."""
        self._child.stop()

    def leave_running(self) -> None:
        """Let it outlive this process."""
        self._child.leave_running()
