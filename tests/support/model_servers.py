"""Embedded model servers as processes, and the clean environment such processes get."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import BinaryIO

import forked_sessions
import psutil
from fork_servers import ForkedProcess, ForkServer, fork_server
from ports import HOST, free_ports, wait_until_listening
from waiting import PATIENCE_S

from tfsctl.serving_config.model_config import ModelConfig, model_config_text

STOP_S = PATIENCE_S
REST_TIMEOUT_MS = int(PATIENCE_S * 1000)
PRELOADED = ("tfsctl.server.main", "tfsctl.server.app.run", *forked_sessions.PRELOADED)
ServerProcess = ForkedProcess | subprocess.Popen[bytes]
_fork_servers: list[Callable[[], ForkServer]] = []  # the one of `forking_servers`, while its block lasts


@dataclass(frozen=True)
class Served:
    """A running model server: where it answers, and the base directory of each model."""

    host: str
    rest_port: int
    grpc_port: int
    models: Mapping[str, Path]
    pid: int = 0


@contextmanager
def forking_servers(folder: Path) -> Iterator[Callable[[], ForkServer]]:
    """While the block lasts, fork model servers from a process that has their modules and TensorFlow loaded.

    A server then takes 0.1 s of CPU to start and end, not 0.7 s. The fork server of the folder, which the yielded
    function returns, starts when it is first needed.
    """
    with ExitStack() as stack:

        @cache
        def started() -> ForkServer:
            return stack.enter_context(fork_server(folder, *PRELOADED, environment=clean_environment(folder)))

        _fork_servers.append(started)
        try:
            yield started
        finally:
            _fork_servers.pop()


@contextmanager
def running_server(
    models: Mapping[str, Path],
    workspace: Path,
    environment: Mapping[str, str] | None = None,
    flags: Sequence[str] = (),
) -> Iterator[Served]:
    """Run the embedded server with these models (name -> base directory) and more flags while the block lasts.

    `environment` is added to a clean one. It looks for new versions every second, and must end cleanly.
    """
    config = workspace / "models.config"
    config.write_text(model_config_text([ModelConfig(name, str(base)) for name, base in models.items()]))
    with running_flags([f"--model_config_file={config}", *flags], workspace, environment) as server:
        yield replace(server, models=models)


@contextmanager
def running_flags(
    flags: Sequence[str], workspace: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """Run the embedded server with these flags, and ports of its own, while the block lasts. It must end cleanly.

    `--port=0` and `--rest_api_port=0` among the flags turn those off. Requests over REST may take minutes: beside busy
    processes, a slow model did not answer within the usual 30 s. New versions are not checked in another process, which
    would take a second each, unless a flag says so. Such a server is not forked, because it may execute its own command
    line again.
    """
    grpc_port, rest_port = free_ports(2)
    open_ports = [grpc_port] * ("--port=0" not in flags) + [rest_port] * ("--rest_api_port=0" not in flags)
    log = workspace / "server.log"
    argv = [
        *(f"--host={HOST}", f"--port={grpc_port}", f"--rest_api_port={rest_port}"),
        *(
            "--file_system_poll_wait_seconds=1",
            "--check_new_versions=never",
            f"--rest_api_timeout_in_ms={REST_TIMEOUT_MS}",
        ),
        *flags,
    ]
    env = clean_environment(workspace) | dict(environment or {})
    may_fork = not any(flag.startswith("--check_new_versions") for flag in flags)
    with log.open("wb") as output:
        process = start_server(argv, env, output, output, may_fork=may_fork)
    try:
        wait_until_listening(process, open_ports, log)
        yield Served(HOST, rest_port, grpc_port, {}, process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_S) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def failed_start(workspace: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """The exit code and the output of a server that does not start. Its gRPC port is free unless a flag names one."""
    argv = [f"--host={HOST}", f"--port={free_ports(1)[0]}", *flags]
    with (workspace / "stdout").open("wb+") as stdout, (workspace / "stderr").open("wb+") as stderr:
        code = start_server(argv, clean_environment(workspace), stdout, stderr).wait(STOP_S)
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(argv, code, stdout.read().decode(), stderr.read().decode())


def start_server(
    flags: Sequence[str], environment: Mapping[str, str], stdout: BinaryIO, stderr: BinaryIO, *, may_fork: bool = True
) -> ServerProcess:
    """Start the embedded server with exactly these flags; as a fork inside a block of `forking_servers`."""
    if may_fork and _fork_servers:
        stdio = (0, stdout.fileno(), stderr.fileno())
        return _fork_servers[-1]().start("tfsctl.server.main:main", *flags, stdio=stdio, environment=environment)
    argv = [sys.executable, "-m", "tfsctl.server", *flags]
    return subprocess.Popen(argv, env=environment, stdout=stdout, stderr=stderr)


def clean_environment(under: Path) -> dict[str, str]:
    """An environment for processes without the user's settings; their home and state are `under` a folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TFSCTL_")}
    return kept | clean_places(under)


def clean_places(under: Path) -> dict[str, str]:
    """The variables that keep a home and a state directory `under` a folder, and let servers start slowly."""
    (under / "home").mkdir(parents=True, exist_ok=True)
    return {
        "TFSCTL_STATE_DIR": str(under / "state"),
        "HOME": str(under / "home"),
        "TFSCTL_WAIT_TIMEOUT": str(PATIENCE_S),
    }


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


HAS_IPV6 = _has_ipv6()


def resident_mb(pid: int) -> float:
    """The resident memory of a process, in MB (10**6 bytes)."""
    return _pages(pid)[1] * os.sysconf("SC_PAGE_SIZE") / 1e6


def cpu_s(pid: int) -> float:
    """The CPU time that a process has used, in seconds. Unlike wall time, it does not depend on the load of the machine."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def own_mb(pid: int) -> float:
    """The resident memory of a process without the pages of files, in MB. The kernel adds and drops those at will."""
    _, resident, shared, *_ = _pages(pid)
    return (resident - shared) * os.sysconf("SC_PAGE_SIZE") / 1e6


def _pages(pid: int) -> list[int]:
    return [int(field) for field in Path(f"/proc/{pid}/statm").read_text().split()]
