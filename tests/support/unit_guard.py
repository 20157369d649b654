"""Keeps unit tests from loading TensorFlow and from starting model servers, here and in the processes they start.

An audit hook raises where a unit test does so, and notes it in a file: the test fails even if the code under test hides
the error. Child processes that run Python get the same hook through unit_guard_site/sitecustomize.py.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

NOTES = "UNIT_GUARD_NOTES"  # the variable that names the file; set while a unit test runs
_SITE = str(Path(__file__).with_name("unit_guard_site"))
_SERVER_PROGRAM, _SERVER_MODULE = "tfsctl-model-server", "tfsctl.server"


def install() -> None:
    """Install the hook in this process. It forbids nothing while the variable is not set."""
    sys.addaudithook(_look)


@contextmanager
def forbidding(is_unit: bool, notes: Path) -> Iterator[None]:
    """While the block lasts, forbid TensorFlow and servers if the test is a unit test. `notes` is the file to use."""
    if not is_unit:
        yield
        return
    notes.write_text("", encoding="utf-8")
    before = os.environ.get("PYTHONPATH")
    os.environ[NOTES] = str(notes)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [_SITE, before]))
    try:
        yield
    finally:
        del os.environ[NOTES]
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


def check() -> None:
    """Fail if the unit test that runs did something forbidden."""
    if notes := os.environ.get(NOTES):
        noted = Path(notes).read_text(encoding="utf-8")
        assert not noted, f"not a unit test (mark it `server` or `tensorflow`):\n{noted}"


def _look(event: str, arguments: tuple[object, ...]) -> None:
    """Raise if the event loads TensorFlow or starts a server."""
    if event not in ("import", "ctypes.dlopen", "subprocess.Popen", "os.posix_spawn", "os.exec", "fork_servers.start"):
        return
    notes = os.environ.get(NOTES)
    if notes is None or not (what := _forbidden(event, arguments)):
        return
    with Path(notes).open("a", encoding="utf-8") as file:
        file.write(f"{what}\n")
    raise RuntimeError(f"forbidden in a unit test: {what}; mark the test `server` or `tensorflow`")


def _forbidden(event: str, arguments: tuple[object, ...]) -> str:
    """What the event does that a unit test may not do, "" if nothing."""
    name = str(arguments[0])
    if event == "import":
        return f"import {name}" if name == "keras" or name.startswith("tensorflow.python") else ""
    if event == "ctypes.dlopen":
        return f"load {name}" if "libtensorflow" in name else ""
    if event == "fork_servers.start":
        return f"start {name}" if name.startswith(_SERVER_MODULE) else ""
    words = arguments[1]
    argv = [str(word) for word in words] if isinstance(words, Sequence) and not isinstance(words, str) else [str(words)]
    is_server = _SERVER_MODULE in argv or any(os.path.basename(word) == _SERVER_PROGRAM for word in argv[:2])
    return f"start {' '.join(argv)}" if is_server else ""
