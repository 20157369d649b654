"""The list of running servers: what is on it, and what falls off it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tfsctl.engines import state_dir
from tfsctl.engines.registry import records
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import EngineError
from tfsctl.programs import subprocesses


@pytest.fixture
def process() -> Iterator[subprocesses.Child]:
    """A process that runs until it is stopped."""
    child = subprocesses.Child([sys.executable, "-c", "import time; time.sleep(60)"])
    yield child
    child.stop()


def server(name: str, pid: int, *, started_at: float = 1.0) -> ServerRecord:
    """An entry of the list."""
    return ServerRecord(name, "embedded", "127.0.0.1", 8501, 8500, (name,), pid, None, started_at, None)


def test_what_is_registered_is_running_until_it_is_unregistered(process: subprocesses.Child) -> None:
    """An entry comes back as it went in, the longest-running first; removing one that is not there is fine."""
    old, new = server("old", process.pid), server("new", process.pid, started_at=time.time())
    records.register(new)
    records.register(old)
    assert records.running() == [old, new]

    records.unregister(old)
    records.unregister(old)
    assert records.running() == [new]
    records.unregister(replace(new, pid=process.pid + 1))
    assert records.running() == [new], "another server has taken the name"


def test_a_server_whose_process_is_gone_is_dropped(process: subprocesses.Child) -> None:
    """Its entry goes from the disk too."""
    records.register(server("gone", process.pid))
    process.stop()

    assert records.running() == []
    assert list(state_dir.subfolder("servers").iterdir()) == []


def test_a_recycled_process_number_is_not_taken_for_ours(process: subprocesses.Child) -> None:
    """The same number with another start is another process."""
    records.register(server("ours", process.pid))
    (file,) = state_dir.subfolder("servers").iterdir()
    entry = json.loads(file.read_text())
    entry["pid"] = os.getpid()
    file.write_text(json.dumps(entry))

    assert records.running() == []


def test_a_name_is_given_once(process: subprocesses.Child) -> None:
    """A second server of a name is refused while the first runs, and welcome afterwards."""
    records.register(server("taken", process.pid))
    with pytest.raises(EngineError, match="a server named taken runs already") as refusal:
        records.register(server("taken", os.getpid()))
    assert refusal.value.hint == "tfsctl stop taken"
    assert [entry.pid for entry in records.running()] == [process.pid]

    process.stop()
    records.register(server("taken", os.getpid()))
    assert [entry.pid for entry in records.running()] == [os.getpid()]


def test_a_file_that_is_no_entry_is_dropped(process: subprocesses.Child) -> None:
    """Half a file, or one of another version of tfsctl, does not stop the others from being listed."""
    records.register(server("good", process.pid))
    folder = state_dir.subfolder("servers")
    (folder / "half.json").write_text('{"name": "ha')
    (folder / "other.json").write_text('{"name": "other", "born": null, "colour": "red"}')

    assert [entry.name for entry in records.running()] == ["good"]
    assert [file.name for file in folder.iterdir()] == ["good.json"]


def test_addresses_are_written_as_clients_take_them() -> None:
    """An IPv6 address needs brackets before a port."""
    at_home = server("m", 1)
    assert (at_home.url, at_home.grpc_address) == ("http://127.0.0.1:8501", "127.0.0.1:8500")
    assert replace(at_home, host="::1").url == "http://[::1]:8501"


def test_the_state_directory_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """TFSCTL_STATE_DIR, else XDG_STATE_HOME, else the home directory; private to its owner."""
    monkeypatch.setenv("TFSCTL_STATE_DIR", str(tmp_path / "chosen"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert state_dir.subfolder("logs") == tmp_path / "chosen/logs"
    assert (tmp_path / "chosen/logs").stat().st_mode & 0o777 == 0o700

    monkeypatch.delenv("TFSCTL_STATE_DIR")
    assert state_dir.subfolder("logs") == tmp_path / "xdg/tfsctl/logs"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert state_dir.subfolder("logs") == tmp_path / "home/.local/state/tfsctl/logs"


def test_a_state_directory_that_cannot_be_made_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, process: subprocesses.Child
) -> None:
    """It names the directory and the variable that moves it."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TFSCTL_STATE_DIR", str(tmp_path / "file"))
    with pytest.raises(EngineError, match=f"cannot write the state directory {tmp_path}/file: Not a dir") as refusal:
        records.register(server("new", process.pid))

    assert "TFSCTL_STATE_DIR" in refusal.value.hint


def test_a_state_directory_that_cannot_be_written_is_an_empty_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who only asks a server needs none."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TFSCTL_STATE_DIR", str(tmp_path / "file" / "state"))
    assert records.list_servers() == []


def test_an_entry_that_cannot_be_removed_is_left_out(
    process: subprocesses.Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a read-only disk the list may be out of date."""
    records.register(server("gone", process.pid))
    process.stop()

    def read_only(_path: Path, *, missing_ok: bool = False) -> None:
        raise OSError(30, f"Read-only file system ({missing_ok})")

    monkeypatch.setattr(Path, "unlink", read_only)
    assert records.list_servers() == []
