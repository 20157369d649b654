"""A model server that is a process of this machine: what the binary and the embedded engine share."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping, Sequence

from tfsctl.engines import state_dir
from tfsctl.engines.engine import LOG_TAIL_LINES
from tfsctl.engines.launch_spec import EngineName, LaunchSpec
from tfsctl.engines.process import discovery_variable
from tfsctl.engines.server_record import record_of
from tfsctl.programs import processes, subprocesses
from tfsctl.programs.log_followers import FileFollower, ShowLine


def notes(spec: LaunchSpec) -> list[str]:
    """A note on options that have no effect for a process."""
    flags = spec.container.container_only_flags()
    return [f"{', '.join(flags)} {'has' if len(flags) == 1 else 'have'} no effect without a container"] if flags else []


def server_flags(spec: LaunchSpec) -> list[str]:
    """TensorFlow Serving's flags for the server. The config files that they refer to need not exist yet."""
    files = spec.config.files()
    return spec.config.flags(str(state_dir.config_folder(files, server=spec.name)) if files else "")


def parent_variable(*, detach: bool) -> dict[str, str]:
    """The variable that makes a server of ours end when this process ends. Empty for one that may outlive it."""
    return {} if detach else {processes.PARENT_VARIABLE: str(os.getpid())}


class LocalProcess:
    """A model server that runs as a child process. Its output goes to a log file."""

    container = None

    def __init__(
        self,
        argv: Sequence[str],
        spec: LaunchSpec,
        *,
        engine: EngineName,
        detach: bool,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Write the config files of `spec` and run `argv`, its command line. Raises ProgramFailed if it cannot be run.

        With `detach`, the process can outlive this one, and its exit status is recorded.
        """
        self.pid: int | None = None
        self.bind_address = "0.0.0.0" if engine == "binary" else spec.host  # noqa: S104 - what the binary does
        self.rest_port = spec.config.rest_port
        self.grpc_port = spec.config.grpc_port
        state_dir.write_config_files(spec.config.files(), server=spec.name)
        self._log = state_dir.log_file(spec.name)
        self.log_path: str | None = str(self._log)
        self._follower: FileFollower | None = None
        values = {name: value for name, value in spec.environment if value is not None}
        discovery = discovery_variable.build(record_of(spec, engine, self), spec.to_document())
        variables = {**values, **(environment or {}), **discovery}
        self._child: subprocesses.Child | subprocesses.DetachedChild
        if detach:
            state_dir.subfolder("exits")
            exit_file = state_dir.exit_file(spec.name)
            self._child = subprocesses.DetachedChild(
                argv, log_path=self._log, exit_file=exit_file, environment=variables
            )
        else:
            self._child = subprocesses.Child(argv, log_path=self._log, log_may_be_link=False, environment=variables)
        self.pid = self._child.pid

    def exit_status(self) -> int | None:
        """Its exit status (negative: the signal that ended it), or None while it runs."""
        return self._child.exit_status()

    def exit_reason(self) -> str:
        """Always empty: the log has the reason."""
        return ""

    def log_tail(self) -> list[str]:
        """The last lines of its log file."""
        with self._log.open(encoding="utf-8", errors="replace") as log:
            return [line.rstrip("\n") for line in deque(log, maxlen=LOG_TAIL_LINES)]

    def follow(self, show: ShowLine) -> None:
        """Pass each line of its log to `show` until `stop`."""
        self._follower = FileFollower(self._log, show)

    def stop(self) -> None:
        """Stop it. Returns when it has ended and its log was shown."""
        self._child.stop()
        if self._follower is not None:
            self._follower.stop()

    def detach(self) -> None:
        """Let it outlive this process."""
        self._child.detach()
