"""The records of servers: which are listed, and when a record is deleted."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from waiting import wait_for

from tfsctl.engines import state_dir
from tfsctl.engines.planning import server_control
from tfsctl.engines.registry import records
from tfsctl.engines.registry.tracked_server import ENDED
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
    """A record of a server."""
    return ServerRecord(name, "embedded", "127.0.0.1", 8501, 8500, (name,), pid, None, started_at, None)


def test_a_registered_server_runs_until_it_is_unregistered(process: subprocesses.Child) -> None:
    """The longest-running server comes first. Removing a record twice is not an error."""
    old, new = server("old", process.pid), server("new", process.pid, started_at=time.time())
    records.register(new)
    records.register(old)
    assert records.running() == [old, new]

    records.unregister(old)
    records.unregister(old)
    assert records.running() == [new]
    records.unregister(replace(new, pid=process.pid + 1))
    assert records.running() == [new], "another server has taken the name"


def test_the_record_of_an_ended_process_is_kept(process: subprocesses.Child) -> None:
    """It does not run, but it can be restarted. How it ended is not known if nobody recorded it."""
    records.register(server("ended", process.pid))
    process.stop()

    assert records.running() == []
    assert [(each.record.name, each.state, each.exit) for each in records.list_servers()] == [("ended", ENDED, None)]


def test_how_a_detached_process_ended_is_known(tmp_path: Path) -> None:
    """Its exit status and the time, also if it was killed. An exit record of another process does not count."""
    state_dir.subfolder("exits")
    child = subprocesses.DetachedChild(
        [sys.executable, "-c", "import time; time.sleep(60)"],
        log_path=tmp_path / "log",
        exit_file=state_dir.exit_file("killed"),
        environment={},
    )
    records.register(server("killed", child.pid))
    begin = time.time()
    os.kill(child.pid, signal.SIGKILL)
    wait_for(lambda: child.exit_status() is not None)

    (found,) = records.list_servers()
    assert found.exit is not None
    assert (found.state, found.exit.status) == (ENDED, -signal.SIGKILL)
    assert begin <= found.exit.ended_at <= time.time()
    state_dir.exit_file("killed").write_text("1 0 5.0\n")
    assert records.list_servers()[0].exit is None


def test_stopping_an_ended_server_spares_the_process_that_has_its_id(process: subprocesses.Child) -> None:
    """Process ids are reused."""
    records.register(server("ended", process.pid))
    (file,) = state_dir.subfolder("servers").iterdir()
    document = json.loads(file.read_text())
    file.write_text(json.dumps(document | {"born": "another boot 1"}))
    server_control.stop(records.list_servers()[0].record)

    assert process.exit_status() is None
    assert records.list_servers() == []


def test_a_reused_process_id_is_not_our_server(process: subprocesses.Child) -> None:
    """The same number with another start time is another process."""
    records.register(server("ours", process.pid))
    (file,) = state_dir.subfolder("servers").iterdir()
    record = json.loads(file.read_text())
    record["pid"] = os.getpid()
    file.write_text(json.dumps(record))

    assert records.running() == []


def test_a_name_belongs_to_one_server(process: subprocesses.Child) -> None:
    """A second server of the same name is refused while the first runs."""
    records.register(server("taken", process.pid))
    with pytest.raises(EngineError, match="a server named taken is already running") as refusal:
        records.register(server("taken", os.getpid()))
    assert refusal.value.hint == "tfsctl stop taken"
    assert [record.pid for record in records.running()] == [process.pid]

    process.stop()
    records.register(server("taken", os.getpid()))
    assert [record.pid for record in records.running()] == [os.getpid()]


def test_an_invalid_record_file_is_deleted(process: subprocesses.Child) -> None:
    """A truncated file, or one of another version of tfsctl, does not hide the other servers."""
    records.register(server("good", process.pid))
    folder = state_dir.subfolder("servers")
    (folder / "half.json").write_text('{"name": "ha')
    (folder / "other.json").write_text('{"name": "other", "born": null, "colour": "red"}')

    assert [record.name for record in records.running()] == ["good"]
    assert [file.name for file in folder.iterdir()] == ["good.json"]


def test_addresses_for_clients() -> None:
    """An IPv6 address is in brackets."""
    at_home = server("m", 1)
    assert (at_home.url, at_home.grpc_address) == ("http://127.0.0.1:8501", "127.0.0.1:8500")
    assert replace(at_home, host="::1").url == "http://[::1]:8501"


def test_registering_fails_if_the_state_directory_cannot_be_created(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, process: subprocesses.Child
) -> None:
    """The error names the directory, the hint the variable that changes it."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TFSCTL_STATE_DIR", str(tmp_path / "file"))
    with pytest.raises(EngineError, match=f"cannot write the state directory {tmp_path}/file: Not a dir") as refusal:
        records.register(server("new", process.pid))

    assert "TFSCTL_STATE_DIR" in refusal.value.hint


def test_without_a_state_directory_no_server_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that only send requests do not need one."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TFSCTL_STATE_DIR", str(tmp_path / "file" / "state"))
    assert records.list_servers() == []


def test_a_record_that_cannot_be_deleted_is_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a read-only disk an invalid record remains."""
    (state_dir.subfolder("servers") / "half.json").write_text('{"name": "ha')

    def read_only(_path: Path, *, missing_ok: bool = False) -> None:
        raise OSError(30, f"Read-only file system ({missing_ok})")

    monkeypatch.setattr(Path, "unlink", read_only)
    assert records.list_servers() == []


def test_the_format_of_a_record_file(process: subprocesses.Child) -> None:
    """Servers that an earlier version started are still listed: the keys and the identity must not change."""
    stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    document = {
        "name": "old",
        "engine": "embedded",
        "host": "127.0.0.1",
        "rest_port": 8501,
        "grpc_port": 8500,
        "models": ["m"],
        "pid": process.pid,
        "container": None,
        "started_at": 5.0,
        "log_path": "/x.log",
        "born": f"{boot_id} {stat[19]}",
        "launch": None,
    }
    file = state_dir.subfolder("servers") / "old.json"
    file.write_text(json.dumps(document))

    assert records.running() == [
        ServerRecord("old", "embedded", "127.0.0.1", 8501, 8500, ("m",), process.pid, None, 5.0, "/x.log")
    ]
    records.unregister(records.running()[0])
    records.register(ServerRecord("old", "embedded", "127.0.0.1", 8501, 8500, ("m",), process.pid, None, 5.0, "/x.log"))
    assert json.loads(file.read_text()) == document
