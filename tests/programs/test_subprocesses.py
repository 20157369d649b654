"""Programs: what they say, how they fail, and that none outlives what it should not."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from waiting import wait_for

from tfsctl.errors import EngineError, ProgramFailed
from tfsctl.programs import processes, subprocesses


def python(code: str) -> list[str]:
    """The command line of a Python program."""
    return [sys.executable, "-c", code]


def test_run_returns_what_was_written() -> None:
    """Stdout and stderr come back apart, and text in any encoding is survived."""
    output = subprocesses.run(python("import sys; print('answer'); sys.stderr.buffer.write(b'talk \\xff')"))

    assert output == ("answer\n", "talk �")


def test_a_failure_carries_everything() -> None:
    """The error holds the command, its status and both streams, and says the last line of it."""
    argv = python("import sys; print('half'); print('first\\nwhy', file=sys.stderr); sys.exit(7)")
    with pytest.raises(ProgramFailed) as failure:
        subprocesses.run(argv)

    error = failure.value
    assert (error.argv, error.returncode, error.stdout, error.stderr) == (tuple(argv), 7, "half\n", "first\nwhy\n")
    assert error.message.endswith("ended with status 7: why")
    assert isinstance(error, EngineError)


@pytest.mark.parametrize("start", [subprocesses.run, subprocesses.run_showing_output, subprocesses.Child])
def test_a_missing_program_is_an_ordinary_failure(start: Callable[[list[str]], object]) -> None:
    """It ends with 127, as a shell would say it, and is named."""
    with pytest.raises(ProgramFailed, match=r"no-such-program .*No such file") as failure:
        start(["no-such-program", "argument"])

    assert failure.value.returncode == 127


def test_a_program_without_the_right_to_run_is_told_apart(tmp_path: Path) -> None:
    """It ends with 126."""
    (tmp_path / "text").write_text("no program")
    with pytest.raises(ProgramFailed, match="Permission denied") as failure:
        subprocesses.run([str(tmp_path / "text")])

    assert failure.value.returncode == 126


def test_a_program_that_takes_too_long_is_ended() -> None:
    """After its time it is gone, and the error says how long it had."""
    with pytest.raises(ProgramFailed, match=r"no end within 0\.2 s") as failure:
        subprocesses.run(python("import time; time.sleep(60)"), timeout_s=0.2)

    assert failure.value.returncode == 124


def test_run_aloud_shows_progress_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    """Stdout is for answers: what a program says of its progress goes to stderr."""
    subprocesses.run_showing_output(python("print('pulling')"))

    assert capfd.readouterr() == ("", "pulling\n")


def test_a_child_writes_to_its_log_and_ends_when_asked(tmp_path: Path) -> None:
    """Both streams of a child go to the log; SIGTERM lets it end in its own way."""
    log = tmp_path / "log"
    child = subprocesses.Child(
        python(
            "import signal, sys, time\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n"
            "print('out', flush=True); print('err', file=sys.stderr, flush=True); time.sleep(60)"
        ),
        log_path=log,
    )
    wait_for(lambda: log.exists() and log.read_text() == "out\nerr\n")
    assert child.exit_status() is None

    child.stop()
    assert child.exit_status() == 5


def test_a_child_that_will_not_end_is_ended_with_all_it_started(tmp_path: Path) -> None:
    """Neither the child nor its own child is there after the grace."""
    log = tmp_path / "log"
    child = subprocesses.Child(
        python(
            "import signal, subprocess, sys, time\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True)\n"
            "time.sleep(60)"
        ),
        log_path=log,
    )
    wait_for(lambda: log.exists() and log.read_text().endswith("\n"))
    grandchild = int(log.read_text())
    assert processes.process_identity(grandchild) is not None

    child.stop(grace_s=0.1)
    assert child.exit_status() == -9
    wait_for(lambda: processes.process_identity(grandchild) is None)


def test_a_child_is_out_of_reach_of_our_terminal() -> None:
    """It leads a session of its own, so Ctrl-C comes to it only through us."""
    child = subprocesses.Child(python("import time; time.sleep(60)"))
    try:
        assert os.getsid(child.pid) == child.pid
    finally:
        child.stop()


def test_a_process_is_known_by_more_than_its_number() -> None:
    """A running process has a stable mark of its own; an ended one has none, even before its parent looked."""
    first = subprocesses.Child(python("import time; time.sleep(60)"))
    second = subprocesses.Child(python("pass"))
    mark = processes.process_identity(first.pid)
    try:
        assert mark == processes.process_identity(first.pid) != processes.process_identity(os.getpid())
        wait_for(lambda: processes.process_identity(second.pid) is None)
    finally:
        first.stop()
        second.stop()
    assert processes.process_identity(first.pid) is None


def test_a_process_of_another_command_is_stopped_too() -> None:
    """`stop` needs the number only, waits until it is gone, and takes one that is gone as it is."""
    child = subprocesses.Child(python("import time; time.sleep(60)"))

    processes.stop(child.pid)
    assert child.exit_status() == -15
    processes.stop(child.pid)


def test_a_process_that_will_not_end_is_ended() -> None:
    """After the grace comes SIGKILL."""
    child = subprocesses.Child(python("import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"))
    time.sleep(0.5)  # let it get to ignoring

    processes.stop(child.pid, grace_s=0.1)
    assert child.exit_status() == -9
