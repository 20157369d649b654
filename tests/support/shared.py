"""Models and a model server that all workers of a test run share. The first worker that needs them makes them."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from model_servers import Served
from ports import listening
from waiting import PATIENCE_S, wait_for

RECORD = "server.json"  # the running shared server, in its folder
ENDED = "ended"  # how it ended: empty if cleanly


def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all workers of this run have in common; pytest-xdist gives each worker one inside it."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """The folder, filled by the first worker that asks for it; the others wait for that one."""
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            draft = folder.with_name(f"{folder.name}-draft")
            shutil.rmtree(draft, ignore_errors=True)  # of a worker that died
            draft.mkdir()
            make(draft)
            draft.rename(folder)
    return folder


def shared_server(folder: Path, models: Mapping[str, Path]) -> Served:
    """The embedded server that all workers share, started by the first one that asks for it.

    It runs under a process of its own (shared_server.py), so it outlives the worker that started it. `end_server` ends
    it; so does the end of the process that runs pytest.
    """
    folder.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not (folder / RECORD).exists():
            _start(folder, models)
    record = json.loads((folder / RECORD).read_text())
    server = Served(record["host"], record["rest_port"], record["grpc_port"], models, record["pid"])
    assert len(listening(server.pid, [server.rest_port, server.grpc_port])) == 2, "the shared server is gone"
    return server


def _start(folder: Path, models: Mapping[str, Path]) -> None:
    owner = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    program = str(Path(__file__).with_name("shared_server.py"))
    arguments = [str(folder), str(owner), json.dumps({name: str(base) for name, base in models.items()})]
    log = str(folder / "supervisor.log")
    pid = os.posix_spawn(  # a Popen object would warn at the end of a worker: the process outlives it
        sys.executable,
        [sys.executable, program, *arguments],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setpgroup=0,  # Ctrl-C ends the tests first
    )

    def is_ready() -> bool:
        assert os.waitpid(pid, os.WNOHANG) == (0, 0), Path(log).read_text()
        return (folder / RECORD).exists()

    wait_for(is_ready, lambda: Path(log).read_text())


def end_server(folder: Path) -> str:
    """End the shared server, if there is one; returns the problem, "" if it ended cleanly."""
    try:
        record = json.loads((folder / RECORD).read_text())
        psutil.Process(record["supervisor"]).terminate()
    except FileNotFoundError:
        return ""
    except psutil.NoSuchProcess:
        pass
    deadline_s = time.monotonic() + 2 * PATIENCE_S
    while psutil.pid_exists(record["supervisor"]) and not (folder / ENDED).exists() and time.monotonic() < deadline_s:
        time.sleep(0.02)
    return (folder / ENDED).read_text() if (folder / ENDED).exists() else f"the shared server did not end: see {folder}"
