"""A server that a fatal signal would end while it starts runs again with one more argument."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import ctypes, resource, signal, sys, threading
from tfsctl.server.process.crash_restart import CrashRestart

if sys.argv[-1] == "--careful":
    print("started again", flush=True)
    sys.exit(7)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
restart = CrashRestart("--careful")
restart.install()

def crash():
    restart.protect_thread()
    if sys.argv[1] == "overflow":  # glibc parses nested groups recursively
        ctypes.CDLL(None).regcomp(ctypes.create_string_buffer(1024), b"(" * 10_000_000, 1)
    signal.raise_signal(getattr(signal, sys.argv[1]))  # in this thread, like a crash; os.kill may choose another one

thread = threading.Thread(target=crash)
if sys.argv[1] == "removed":
    restart.remove()
    sys.argv[1] = "SIGABRT"
thread.start()
thread.join()
"""


def run(how: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that crashes in a thread."""
    (folder / "program.py").write_text(PROGRAM)
    argv = [sys.executable, str(folder / "program.py"), how]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=240)


@pytest.mark.parametrize(
    ("how", "name"), [("SIGABRT", "SIGABRT"), ("SIGFPE", "SIGFPE"), ("SIGSEGV", "SIGSEGV"), ("overflow", "SIGSEGV")]
)
def test_it_starts_again(how: str, name: str, tmp_path: Path) -> None:
    """Also after a stack overflow, when the thread's own stack has no room for the handler."""
    ended = run(how, tmp_path)

    assert (ended.returncode, ended.stdout) == (7, "started again\n")
    assert f"ended with {name}. The server starts again with --careful" in ended.stderr


def test_it_does_not_once_it_serves(tmp_path: Path) -> None:
    """Then the signal ends the process, as usual."""
    assert run("removed", tmp_path).returncode == -6
