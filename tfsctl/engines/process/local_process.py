"""A model server that is a process of this machine: what the binary and the embedded engine share."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tfsctl.engines.planning import ports
from tfsctl.engines.planning.launch_spec import LAST_LINES, EngineName, Launch
from tfsctl.engines.registry import discovery, records, state_dir
from tfsctl.programs import subprocesses
from tfsctl.programs.log_follower import FollowedFile, Show


def settled(launch: Launch) -> Launch:
    """The launch with real numbers for the ports it leaves open: to TensorFlow Serving a port of 0 is off."""
    return replace(launch, config=ports.with_free_ports(launch.config, launch.host))


def notes(launch: Launch) -> list[str]:
    """What was asked for that a process takes no notice of."""
    given = launch.container.asked_for()
    return [f"{', '.join(given)}: for a container; this is a process, which takes no notice"] if given else []


def flags(launch: Launch) -> list[str]:
    """TensorFlow Serving's flags for it, with its config files written if it needs any."""
    files = launch.config.files()
    return launch.config.flags(str(state_dir.write_files(files, server=launch.name)) if files else "")


class ProcessServer:
    """A model server run as a child process. Its log goes to a file also in the foreground, so that nobody misses it."""

    container = None

    def __init__(
        self, argv: Sequence[str], launch: Launch, *, engine: EngineName, environment: Mapping[str, str] | None = None
    ) -> None:
        """Run `argv`, which starts `launch`. Raises ProgramFailed when it cannot be run."""
        self.pid: int | None = None
        self.rest_port = launch.config.rest_port
        self.grpc_port = launch.config.grpc_port
        self._log = state_dir.log_file(launch.name)
        self.log_path: str | None = str(self._log)
        self._follower: FollowedFile | None = None
        given = {name: value for name, value in launch.environment if value is not None}
        mark = discovery.variable(records.entry_of(launch, engine, self), launch.to_document())
        self._child = subprocesses.Child(argv, log_path=self._log, environment={**given, **(environment or {}), **mark})
        self.pid = self._child.pid

    def ended(self) -> int | None:
        """Its exit status (negative: the signal that ended it), or None while it runs."""
        return self._child.ended()

    def cause(self) -> str:
        """Nothing: its log tells."""
        return ""

    def last_lines(self) -> list[str]:
        """The last lines of its log file."""
        with self._log.open(encoding="utf-8", errors="replace") as log:
            return [line.rstrip("\n") for line in deque(log, maxlen=LAST_LINES)]

    def follow(self, show: Show) -> None:
        """Show each line of its log until it is stopped."""
        self._follower = FollowedFile(self._log, show)

    def stop(self) -> None:
        """End it; returns when it is gone and its log is shown."""
        self._child.stop()
        if self._follower is not None:
            self._follower.stop()

    def leave_running(self) -> None:
        """Let it outlive this process."""
        self._child.leave_running()
