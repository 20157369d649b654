"""Programs: their output, their failures, and how they are stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from waiting import wait_for

from tfsctl.errors import EngineError, ProgramFailed
from tfsctl.programs import exit_recorder, processes, subprocesses
from tfsctl.programs.exit_records import read_exit_record


def python(code: str) -> list[str]:
    """The command line of a Python program."""
    return [sys.executable, "-c", code]


def test_run_returns_stdout_and_stderr() -> None:
    """Separately. Bytes that are not UTF-8 are replaced."""
    output = subprocesses.run(python("import sys; print('answer'); sys.stderr.buffer.write(b'talk \\xff')"))

    assert output == ("answer\n", "talk �")


def test_a_failure_has_status_and_output() -> None:
    """The error has the command, the status and both streams; its message ends with the last line of stderr."""
    argv = python("import sys; print('half'); print('first\\nwhy', file=sys.stderr); sys.exit(7)")
    with pytest.raises(ProgramFailed) as failure:
        subprocesses.run(argv)

    error = failure.value
    assert (error.argv, error.returncode, error.stdout, error.stderr) == (tuple(argv), 7, "half\n", "first\nwhy\n")
    assert error.message.endswith("ended with status 7: why")
    assert isinstance(error, EngineError)


@pytest.mark.parametrize("start", [subprocesses.run, subprocesses.run_showing_output, subprocesses.Child])
def test_a_missing_program_has_status_127(start: Callable[[list[str]], object]) -> None:
    """As in a shell, and the error names it."""
    with pytest.raises(ProgramFailed, match=r"no-such-program .*No such file") as failure:
        start(["no-such-program", "argument"])

    assert failure.value.returncode == 127


def test_a_program_that_may_not_be_executed_has_status_126(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    with pytest.raises(ProgramFailed, match="Permission denied") as failure:
        subprocesses.run([str(tmp_path / "text")])

    assert failure.value.returncode == 126


def test_a_program_is_stopped_at_the_timeout() -> None:
    """The error has the timeout."""
    with pytest.raises(ProgramFailed, match=r"no end within 0\.2 s") as failure:
        subprocesses.run(python("import time; time.sleep(3600)"), timeout_s=0.2)

    assert failure.value.returncode == 124


def test_output_is_shown_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    """Stdout is for answers, so the program's progress goes to stderr."""
    subprocesses.run_showing_output(python("print('pulling')"))

    assert capfd.readouterr() == ("", "pulling\n")


def test_a_child_writes_to_its_log_and_can_be_stopped(tmp_path: Path) -> None:
    """Both streams go to the log; SIGTERM lets it clean up."""
    log = tmp_path / "log"
    child = subprocesses.Child(
        python(
            "import signal, sys, time\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n"
            "print('out', flush=True); print('err', file=sys.stderr, flush=True); time.sleep(3600)"
        ),
        log_path=log,
    )
    wait_for(lambda: log.exists() and log.read_text() == "out\nerr\n")
    assert child.exit_status() is None

    child.stop()
    assert child.exit_status() == 5


def test_a_child_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    """After the grace period."""
    log = tmp_path / "log"
    child = subprocesses.Child(
        python(
            "import signal, subprocess, sys, time\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)']).pid, flush=True)\n"
            "time.sleep(3600)"
        ),
        log_path=log,
    )
    wait_for(lambda: log.exists() and log.read_text().endswith("\n"))
    grandchild = int(log.read_text())
    assert processes.process_identity(grandchild) is not None

    child.stop(grace_s=0.1)
    assert child.exit_status() == -9
    wait_for(lambda: processes.process_identity(grandchild) is None)


def test_a_child_has_its_own_session() -> None:
    """So Ctrl-C in our terminal does not reach it."""
    child = subprocesses.Child(python("import time; time.sleep(3600)"))
    try:
        assert os.getsid(child.pid) == child.pid
    finally:
        child.stop()


def test_process_identity_is_stable_and_none_for_ended_processes() -> None:
    """Also before the parent has collected the exit status."""
    first = subprocesses.Child(python("import time; time.sleep(3600)"))
    second = subprocesses.Child(python("pass"))
    mark = processes.process_identity(first.pid)
    try:
        assert mark == processes.process_identity(first.pid) != processes.process_identity(os.getpid())
        wait_for(lambda: processes.process_identity(second.pid) is None)
    finally:
        first.stop()
        second.stop()
    assert processes.process_identity(first.pid) is None


def test_a_process_of_another_command_can_be_stopped() -> None:
    """`stop` needs only the pid, returns when the process has ended, and accepts one that has ended before."""
    child = subprocesses.Child(python("import time; time.sleep(3600)"))

    processes.stop(child.pid)
    assert child.exit_status() == -15
    processes.stop(child.pid)


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """With SIGKILL, after the grace period."""
    ignores = tmp_path / "ignores"
    code = f"import pathlib, signal, time; signal.signal(15, signal.SIG_IGN); pathlib.Path({str(ignores)!r}).touch()"
    child = subprocesses.Child(python(f"{code}; time.sleep(3600)"))
    wait_for(ignores.exists)

    processes.stop(child.pid, grace_s=0.1)
    assert child.exit_status() == -9


@pytest.fixture
def detached(tmp_path: Path) -> Iterator[Callable[..., subprocesses.DetachedChild]]:
    """Start detached programs, which are stopped after the test."""
    started: list[subprocesses.DetachedChild] = []

    def start(argv: Sequence[str], **environment: str) -> subprocesses.DetachedChild:
        child = subprocesses.DetachedChild(
            argv, log_path=tmp_path / "log", exit_file=tmp_path / "exit", environment=environment
        )
        started.append(child)
        return started[-1]

    yield start
    for child in started:
        child.stop()


def test_a_detached_program_has_its_environment_log_and_session(
    detached: Callable[..., subprocesses.DetachedChild], tmp_path: Path
) -> None:
    """Values may have line breaks, `=` and bytes that are not text. Its parent is not this process."""
    child = detached(python("import os; print([os.environb[b'A'], os.getsid(0) == os.getpid(), 5])"), A="b=\n\udcff")
    wait_for(lambda: child.exit_status() is not None)

    assert (tmp_path / "log").read_text() == "[b'b=\\n\\xff', True, 5]\n"
    recorded = read_exit_record(tmp_path / "exit", child.pid)
    assert recorded is not None
    assert recorded.status == child.exit_status() == 0
    assert read_exit_record(tmp_path / "exit", child.pid + 1) is None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_the_signal_that_ended_a_detached_program_is_recorded(
    detached: Callable[..., subprocesses.DetachedChild], tmp_path: Path, number: signal.Signals
) -> None:
    """As a negative status."""
    child = detached(["sleep", "60"])
    assert child.exit_status() is None
    os.kill(child.pid, number)
    wait_for(lambda: child.exit_status() is not None)

    recorded = read_exit_record(tmp_path / "exit", child.pid)
    assert recorded is not None
    assert recorded.status == child.exit_status() == -number


def test_a_detached_program_that_cannot_be_started_is_an_error(
    detached: Callable[..., subprocesses.DetachedChild], tmp_path: Path
) -> None:
    """The same error as for other programs; no exit is recorded."""
    for program, status in (("/nowhere", subprocesses.NOT_FOUND), (str(tmp_path), subprocesses.NOT_EXECUTABLE)):
        with pytest.raises(ProgramFailed) as failure:
            detached([program])
        assert failure.value.returncode == status
    assert not (tmp_path / "exit").exists()


def test_a_detached_program_is_not_started_with_half_an_environment(tmp_path: Path) -> None:
    """If tfsctl is killed while it starts a server, no server runs without the variable that marks it."""
    argv = [sys.executable, "-I", "-S", exit_recorder.__file__, str(tmp_path / "exit"), "touch", str(tmp_path / "ran")]
    for variables, ran in ((b"PATH=/bin:/usr/bin\0A=hal", False), (b"PATH=/bin:/usr/bin\0A=half\0\0", True)):
        done = subprocess.run(argv, input=variables, capture_output=True, check=True)
        assert done.stdout.startswith(b"started ") is ran
        assert (tmp_path / "ran").exists() is ran


def test_a_process_of_another_user_is_not_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is an error; a process that ends at that moment is not."""
    child = subprocesses.Child(["sleep", "60"])

    def refuse(_pid: int, _number: int) -> None:
        raise PermissionError

    def end(_pid: int, _number: int) -> None:
        raise ProcessLookupError

    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", refuse)
        with pytest.raises(EngineError, match=f"^this user may not stop process {child.pid}, "):
            processes.stop(child.pid)
        patch.setattr(os, "kill", end)
        processes.stop(child.pid)
    child.stop()


def test_detached_programs_that_have_ended_are_reaped() -> None:
    """A long-running Python program that starts many servers has no zombies."""
    ended = subprocesses.Child(python("pass"))
    ended.detach()
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it is a zombie now
    other = subprocesses.Child(python("pass"))
    other.detach()
    with pytest.raises(ChildProcessError):
        os.waitpid(ended.pid, os.WNOHANG)
    other.stop()
