"""Processes of a fork server begin, end and fail like others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fork_servers import ForkServer, fork_server

SCRIPT = """
import os, sys
print(os.environ["WORD"], os.getcwd(), "json" in sys.modules, os.getsid(0) == os.getpid())
sys.exit("said at the end")
"""


def test_run_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the environment and folder of the caller, a session of its own, and the status of its end."""
    monkeypatch.chdir(tmp_path)
    with fork_server(tmp_path / "forks", "json", environment=os.environ) as server:
        done = server.run_script(SCRIPT, environment={**os.environ, "WORD": "spoken"})
        fine = server.run_script("print(1)")
        failed = server.run_script("1 / 0")
    assert (done.returncode, done.stdout, done.stderr) == (1, f"spoken {tmp_path} True True\n", "said at the end\n")
    assert (fine.returncode, fine.stdout) == (0, "1\n")
    assert failed.returncode == 1
    assert "ZeroDivisionError" in failed.stderr


def test_kill(tmp_path: Path) -> None:
    """A killed process has the status of its signal, and does not disturb others."""
    with fork_server(tmp_path / "forks", "forked_programs", environment=os.environ) as server:
        one, to_one, from_one = server.start_piped("forked_programs:run_stdin")
        two, to_two, from_two = server.start_piped("forked_programs:run_stdin")
        assert one.poll() is None
        one.kill()
        assert (one.wait(), one.poll()) == (-9, -9)
        assert from_one.read() == b""
        to_two.write(b"print('two')")
        to_two.close()
        assert (from_two.read(), two.wait()) == (b"two\n", 0)
        two.kill()
        for pipe in (to_one, from_one, from_two):
            pipe.close()


def test_no_process_outlives_its_fork_server(tmp_path: Path) -> None:
    """A test run that is interrupted leaves none."""
    with fork_server(tmp_path / "forks", "forked_programs", environment=os.environ) as server:
        process, stdin, stdout = server.start_piped("forked_programs:run_stdin")
    with stdin, stdout:
        assert (process.wait(), stdout.read()) == (-9, b"")


def test_threads_are_refused(tmp_path: Path) -> None:
    """A fork could copy a lock that another thread holds."""
    (tmp_path / "busy.py").write_text(
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()"
    )
    with (
        pytest.raises(AssertionError, match="a process with more than one thread cannot be forked safely"),
        fork_server(tmp_path / "forks", "busy", environment={**os.environ, "PYTHONPATH": str(tmp_path)}),
    ):
        pass


PRINT_PARENTS = "import os; from pathlib import Path; print(Path(f'/proc/{os.getppid()}/stat').read_text().split()[3])"


def test_workers_share_one_process(tmp_path: Path) -> None:
    """It lives as long as one of them is connected, and a process ends with the connection that it belongs to."""
    with fork_server(tmp_path / "forks", "forked_programs", environment=os.environ) as first:
        shared = first.run_script(PRINT_PARENTS).stdout
        process, stdin, stdout = first.start_piped("forked_programs:run_stdin")
        second = ForkServer.connected(tmp_path / "forks")
    with stdin, stdout:
        assert process.wait() == -9
    assert second.run_script(PRINT_PARENTS).stdout == shared
    second.close()
    os.waitpid(int(shared), 0)
    with fork_server(tmp_path / "forks", "forked_programs", environment=os.environ) as third:
        assert third.run_script(PRINT_PARENTS).stdout not in ("", shared)
