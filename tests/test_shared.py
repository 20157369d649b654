"""What the workers of a test run share is made once, and outlives the worker that made it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from locations import ROOT
from ports import listening
from shared import end_server, made_once, shared_server

START_AND_DIE = """
import os, signal, sys
from pathlib import Path
from shared import shared_server
shared_server(Path(sys.argv[1]), {"echo": Path(sys.argv[2])})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.server
def test_the_server_outlives_its_worker_and_ends_cleanly(echo_dir: Path, tmp_path: Path) -> None:
    """A worker starts it and is killed; another finds it running; at the end of the run it is ended."""
    folder = tmp_path / "served"
    worker = {**os.environ, "PYTEST_XDIST_WORKER": "gw99", "PYTHONPATH": str(ROOT / "tests" / "support")}
    argv = [sys.executable, "-c", START_AND_DIE, str(folder), str(echo_dir)]
    died = subprocess.run(argv, env=worker, capture_output=True, text=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr

    server = shared_server(folder, {"echo": echo_dir})
    assert end_server(folder) == ""
    assert listening(server.pid, [server.rest_port, server.grpc_port]) == set()
    assert not psutil.pid_exists(server.pid)
    assert end_server(folder) == ""


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    """What a worker that died left behind does not count."""
    calls: list[Path] = []

    def make(folder: Path) -> None:
        calls.append(folder)
        (folder / "file").write_text(str(len(calls)))

    (tmp_path / "models-draft").mkdir()
    (tmp_path / "models-draft" / "half").touch()
    for _ in range(2):
        assert [path.name for path in made_once(tmp_path / "models", make).iterdir()] == ["file"]
    assert (tmp_path / "models" / "file").read_text() == "1"
