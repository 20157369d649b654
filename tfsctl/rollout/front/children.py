"""The child processes of a front: start Envoy and the collector of a shadow, stop any child, and remove their files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from tfsctl.engines import state_dir
from tfsctl.engines.docker import container as docker_container
from tfsctl.errors import DockerError, EngineError
from tfsctl.programs import processes
from tfsctl.programs.subprocesses import DetachedChild
from tfsctl.rollout.front.envoy.admin import close_listeners, read_statistics
from tfsctl.rollout.front.envoy.bootstrap import FrontAddresses, bootstrap_document
from tfsctl.rollout.front.envoy.program import find_envoy
from tfsctl.rollout.front.envoy.routes import SLOTS, Slot
from tfsctl.rollout.front.front_files import ContainerRef, FrontFiles, ProcessRef
from tfsctl.rollout.shadow.collector_options import CollectorOptions

MAX_CONCURRENCY = 4
DRAIN_S = 25.0  # less than the time after which `tfsctl stop` kills the front


def child_name(front: str, child: Slot | Literal["envoy", "shadow"]) -> str:
    """The name of a child of a front, with which the names of its files begin."""
    return f"{front}-{child}"


def start_envoy(front: str, addresses: FrontAddresses, folder: Path) -> ProcessRef:
    """Start Envoy with these addresses. Raises EngineError if it is not installed or cannot be started."""
    bootstrap = folder / "envoy.json"
    state_dir.write_atomically(bootstrap, json.dumps(bootstrap_document(addresses)))
    Path(addresses.admin).unlink(missing_ok=True)  # Envoy does not start if the socket exists
    threads = min(os.cpu_count() or 1, MAX_CONCURRENCY)
    options = ["--disable-hot-restart", "--concurrency", str(threads), "--log-level", "warning", "--drain-time-s", "60"]
    options += ["--file-flush-interval-msec", "500"]  # of the log of an A/B test
    argv = [find_envoy(), "--config-path", str(bootstrap), *options]
    return start_detached(child_name(front, "envoy"), argv, {})


def start_collector(front: str, options: CollectorOptions) -> ProcessRef:
    """Start the collector of a shadow. Raises EngineError."""
    argv = [sys.executable, "-m", "tfsctl.rollout.shadow", json.dumps(asdict(options))]
    return start_detached(child_name(front, "shadow"), argv, {})


def log_tail(name: str, lines: int = 20) -> list[str]:
    """The last lines of the log of a child."""
    try:
        text = state_dir.log_file(name).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.splitlines()[-lines:]


def stop(process: ProcessRef | ContainerRef | None) -> None:
    """Stop a child if it runs. A server first answers its running requests. Returns when it has ended."""
    if isinstance(process, ContainerRef):
        with suppress(DockerError):  # the daemon does not answer; `tfsctl ps` shows the container once it does
            docker_container.stop(process.container)
    elif process is not None and process.runs:
        processes.stop(process.pid)


def kill(process: ProcessRef) -> None:
    """Kill a child that hangs. It may be stopped (SIGSTOP)."""
    if process.runs:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def drain(admin: str) -> None:
    """Have Envoy take no new connections, and wait until it has answered the running requests. Raises nothing."""
    deadline = time.monotonic() + DRAIN_S
    with suppress(EngineError):
        close_listeners(admin)
        while read_statistics(admin).active > 0 and time.monotonic() < deadline:
            time.sleep(0.05)


def clean_up(front: str) -> None:
    """Stop the children of a front that was killed, and remove its files."""
    files = FrontFiles(front)
    state = files.read()
    if state is not None:
        for process in (state.envoy, state.collector, *(slot.process for slot in state.slots.values())):
            stop(process)
        shutil.rmtree(state.admin_folder, ignore_errors=True)
    remove_config_files(front)
    files.remove()


def remove_config_files(front: str) -> None:
    """Remove the config files of both servers."""
    for slot in SLOTS:
        state_dir.remove_config_files(child_name(front, slot))


def start_detached(name: str, argv: Sequence[str], variables: Mapping[str, str]) -> ProcessRef:
    """Start a process that survives this one."""
    state_dir.subfolder("exits")
    child = DetachedChild(
        argv, log_path=state_dir.log_file(name), exit_file=state_dir.exit_file(name), environment=variables
    )
    child.detach()
    return ProcessRef(child.pid, processes.process_identity(child.pid))
