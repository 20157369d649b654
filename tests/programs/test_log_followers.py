"""Following logs: files and programs, from the first line to the last."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from waiting import wait_for

from tfsctl.programs import log_followers
from tfsctl.programs.log_followers import FileFollower, ProgramFollower


def test_a_growing_file_is_followed(tmp_path: Path) -> None:
    """Complete lines, and the last one also without a line break. Bytes that are not UTF-8 are replaced."""
    shown: list[str] = []
    file = tmp_path / "log"
    with file.open("wb", buffering=0) as log:
        log.write(b"first\nsec")
        followed = FileFollower(file, shown.append)
        wait_for(lambda: shown == ["first"])
        log.write(b"ond\n\xff\n")
        wait_for(lambda: shown == ["first", "second", "\ufffd"])
        log.write("größe".encode())
        followed.stop()

    assert shown == ["first", "second", "\ufffd", "größe"]


def test_a_program_is_followed_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both of its streams. `stop` ends a program that still runs."""
    shown: list[str] = []
    followed = ProgramFollower(
        [sys.executable, "-c", "import sys; print('one'); sys.stderr.write('two')"], shown.append
    )
    wait_for(lambda: sorted(shown) == ["one", "two"])
    followed.stop()

    monkeypatch.setattr(log_followers, "_DRAIN_S", 0.1)  # it has nothing more to say
    endless = "import time; print('on', flush=True); time.sleep(3600)"
    followed = ProgramFollower([sys.executable, "-c", endless], shown.append)
    wait_for(lambda: shown[-1] == "on")
    followed.stop()
