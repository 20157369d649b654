"""Unit tests are kept from TensorFlow and from servers: what `make test-fast` runs has no marker that allows them."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import unit_guard
from fork_servers import ForkServer


@pytest.mark.parametrize(
    "code",
    [
        "import tensorflow",
        "import ctypes; ctypes.CDLL('libtensorflow_cc.so.2')",
        "import subprocess, sys; subprocess.run([sys.executable, '-m', 'tfsctl.server'])",
        "import os; os.execvp('tfsctl-model-server', ['tfsctl-model-server'])",
    ],
)
def test_processes_of_unit_tests_are_guarded(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The forbidden call fails, and is noted."""
    with monkeypatch.context() as patch:
        patch.setenv(unit_guard.NOTES, str(tmp_path / "notes"))
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "RuntimeError: forbidden in a unit test: " in done.stderr
    assert (tmp_path / "notes").read_text()


def test_this_process_is_guarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that hides the error fails nevertheless."""
    (tmp_path / "notes").touch()
    with monkeypatch.context() as patch:
        patch.setenv(unit_guard.NOTES, str(tmp_path / "notes"))
        unit_guard.check()
        with pytest.raises(RuntimeError, match="forbidden in a unit test: load libtensorflow_cc"):
            ctypes.CDLL("libtensorflow_cc.so.2")
        with socket.socket() as control, pytest.raises(RuntimeError, match=r"start tfsctl\.server\.main"):
            ForkServer(control).start("tfsctl.server.main:main", stdio=())
        with pytest.raises(AssertionError, match="not a unit test"):
            unit_guard.check()


@pytest.mark.tensorflow
def test_other_tests_are_not_guarded() -> None:
    """Tests that carry a marker may load and start what they want."""
    assert unit_guard.NOTES not in os.environ
