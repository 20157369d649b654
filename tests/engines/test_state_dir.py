"""The place of the state directory, and its permissions."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import platformdirs
import pytest
from cli_runner import RunCli

from tfsctl.engines import state_dir
from tfsctl.engines.registry import records
from tfsctl.errors import EngineError, ExitCode
from tfsctl.programs import subprocesses


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """TFSCTL_STATE_DIR, then XDG_STATE_HOME, then the home directory. Only the owner may read it."""
    monkeypatch.setenv("TFSCTL_STATE_DIR", str(tmp_path / "chosen"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert state_dir.subfolder("logs") == tmp_path / "chosen/logs"
    assert (tmp_path / "chosen/logs").stat().st_mode & 0o777 == 0o700

    monkeypatch.delenv("TFSCTL_STATE_DIR")
    assert state_dir.subfolder("logs") == tmp_path / "xdg/tfsctl/logs"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert state_dir.subfolder("logs") == tmp_path / "home/.local/state/tfsctl/logs"


def test_an_existing_directory_in_the_earlier_place_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On macOS the platform's place differs from ~/.local/state, where earlier versions kept running servers."""
    monkeypatch.delenv("TFSCTL_STATE_DIR")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    platform, earlier = tmp_path / "Library/tfsctl", tmp_path / ".local/state/tfsctl"
    monkeypatch.setattr(platformdirs, "user_state_path", lambda _name: platform)
    assert state_dir.base() == platform

    earlier.mkdir(parents=True)
    assert state_dir.base() == earlier
    platform.mkdir(parents=True)
    assert state_dir.base() == platform


def test_without_a_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without HOME and without a passwd entry: no server is known, and starting one is refused."""
    monkeypatch.delenv("TFSCTL_STATE_DIR")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.getuid", lambda: 2**31 - 2)

    assert records.running() == []
    with pytest.raises(EngineError, match="no home directory") as refusal:
        state_dir.subfolder("logs")
    assert "TFSCTL_STATE_DIR" in refusal.value.hint


def test_the_directory_and_its_folders_are_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the umask is."""
    monkeypatch.setenv("TFSCTL_STATE_DIR", str(tmp_path / "new/state"))
    before = os.umask(0)
    try:
        folder = state_dir.subfolder("logs")
    finally:
        os.umask(before)

    assert [path.stat().st_mode & 0o777 for path in (folder, folder.parent)] == [0o700, 0o700]


@pytest.mark.parametrize("linked", ["state", "state/servers"])
def test_a_symbolic_link_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linked: str) -> None:
    """Another user might have made it."""
    monkeypatch.setenv("TFSCTL_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / linked).parent.mkdir(exist_ok=True)
    (tmp_path / linked).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(EngineError, match=r"is a symbolic link$") as refusal:
        state_dir.subfolder("servers")
    assert refusal.value.hint == "set TFSCTL_STATE_DIR to another directory"


def test_a_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That user could replace our files."""
    monkeypatch.setenv("TFSCTL_STATE_DIR", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: tmp_path.stat().st_uid + 1)

    with pytest.raises(EngineError, match=r"belongs to another user$"):
        state_dir.subfolder("servers")


def test_a_log_is_not_written_through_a_link(tmp_path: Path) -> None:
    """Otherwise another user could have us overwrite any of our files."""
    target, link = tmp_path / "target", tmp_path / "log"
    target.write_text("kept")
    link.symlink_to(target)

    with pytest.raises(EngineError, match=f"^cannot write the log {link}: "):
        subprocesses.Child([sys.executable, "-c", "print(1)"], log_path=link, log_may_be_link=False)
    assert target.read_text() == "kept"


def test_a_file_that_cannot_be_written_is_an_error_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, a directory in its place: not a bug of tfsctl."""
    monkeypatch.setenv("TFSCTL_STATE_DIR", str(tmp_path))
    folder = state_dir.subfolder("servers")
    (folder / "m.json" / "x").mkdir(parents=True)
    with pytest.raises(EngineError, match=f"^cannot write {folder}/m.json: "):
        state_dir.write_atomically(folder / "m.json", "{}")

    (state_dir.subfolder("configs") / "m").write_text("")
    with pytest.raises(EngineError, match=f"^cannot write {tmp_path}/configs/m/"):
        state_dir.write_config_files({"models.config": ""}, server="m")


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("loop", "Too many levels of symbolic links"),
        ("loop/state", "Too many levels of symbolic links"),
        ("file", "Not a directory"),
        ("a" * 300, "File name too long"),
        ("a" * 300 + "/state", "File name too long"),
    ],
)
def test_a_place_that_cannot_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, echo_dir: Path, run_cli: RunCli, place: str, reason: str
) -> None:
    """Commands that only read know of no servers. A command that starts one says why it cannot."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TFSCTL_STATE_DIR", str(tmp_path / place))

    assert records.running() == []
    assert run_cli("ps").code == ExitCode.OK
    assert run_cli("predict", "1", "--model", "m", "--port", "9").code == ExitCode.UNREACHABLE
    result = run_cli("serve", echo_dir, "--engine", "embedded", "--rest-port", "0", "--grpc-port", "0", "--detach")
    assert result.code == ExitCode.FAILED
    assert f"cannot write the state directory {tmp_path / place}: {reason}\n" in result.stderr
    assert "hint: set TFSCTL_STATE_DIR to another directory" in result.stderr


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ELOOP])
def test_files_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A full disk, a quota and a read-only file system are errors that name the place."""
    monkeypatch.setenv("TFSCTL_STATE_DIR", str(tmp_path))

    def fail(*_values: object, **_options: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    file = state_dir.subfolder("locks") / "file"
    writes: list[tuple[object, str, Callable[[], object]]] = [
        (os, "open", lambda: ExitStack().enter_context(state_dir.lock("m"))),
        (os, "replace", lambda: state_dir.write_atomically(file, "text")),
        (Path, "mkdir", lambda: state_dir.write_config_files({"models.config": ""}, server="m")),
    ]
    for owner, function, write in writes:
        with monkeypatch.context() as patched:
            patched.setattr(owner, function, fail)
            with pytest.raises(EngineError, match=os.strerror(number)) as refusal:
                write()
            is_full = number in (errno.ENOSPC, errno.EDQUOT)
            another = "set TFSCTL_STATE_DIR to another directory"  # which does not know the servers of this one
            assert refusal.value.hint == ("free disk space for the state directory" if is_full else another)


def test_a_file_that_cannot_be_written_leaves_no_other_file(tmp_path: Path) -> None:
    """A directory of that name cannot be replaced; the temporary file is removed."""
    (tmp_path / "state.json").mkdir()
    with pytest.raises(EngineError, match=r"cannot write .*state\.json"):
        state_dir.write_atomically(tmp_path / "state.json", "{}")
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
