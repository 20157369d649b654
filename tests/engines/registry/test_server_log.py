"""Which lines of a log are printed, and what a log tells about failed loads."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import pytest
from fake_docker import FakeDocker

from tfsctl.engines.registry import server_log
from tfsctl.engines.registry.server_log import LogSelection
from tfsctl.engines.registry.tracked_server import TrackedServer
from tfsctl.engines.server_record import ServerRecord

LOG = """\
starting
2026-11-29 10:00:00.250000: I server.cc:1] one
2026-11-29 10:00:05,500 I two
  more of two
2026-11-29 10:00:10.000000: E three
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TrackedServer]:
    """A process that has ended, and its log in local time, an hour east of Greenwich."""
    (tmp_path / "log").write_text(LOG)
    record = ServerRecord("m", "binary", "127.0.0.1", 1, 2, ("m",), 2**22, None, 0.0, str(tmp_path / "log"))
    with pytest.MonkeyPatch.context() as there:
        there.setenv("TZ", "CET-1")
        time.tzset()
        yield TrackedServer(record, "ended")
    time.tzset()


def at(second: int) -> float:
    """The Unix time of a second after ten o'clock there."""
    return datetime(2026, 11, 29, 9, 0, second, tzinfo=timezone.utc).timestamp()


def test_lines_since_a_time(server: TrackedServer) -> None:
    """A line without a time belongs to the line before it."""
    lines = LOG.splitlines()
    assert list(server_log.lines(server, LogSelection())) == lines
    assert list(server_log.lines(server, LogSelection(since=at(1)))) == lines[2:]
    assert list(server_log.lines(server, LogSelection(since=at(5), tail=2))) == lines[3:]
    assert list(server_log.lines(server, LogSelection(since=at(11)))) == []


def test_timestamps_are_in_utc(server: TrackedServer) -> None:
    """The time is the one that the server wrote; a dash where it is not known."""
    assert list(server_log.lines(server, LogSelection(timestamps=True))) == [
        "- starting",
        "2026-11-29T09:00:00.250000Z 2026-11-29 10:00:00.250000: I server.cc:1] one",
        "2026-11-29T09:00:05.500000Z 2026-11-29 10:00:05,500 I two",
        "2026-11-29T09:00:05.500000Z   more of two",
        "2026-11-29T09:00:10Z 2026-11-29 10:00:10.000000: E three",
    ]


def test_docker_selects_the_lines_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It knows when each line was written."""
    fake = FakeDocker(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    fake.expect_daemon()
    fake.expect("logs", "--tail", "3", "--since", "5.500000", "--timestamps", "abc", stdout="a line\n")
    record = ServerRecord("m", "docker", "127.0.0.1", 1, 2, ("m",), None, "abc", 0.0, None)
    selection = LogSelection(tail=3, since=5.5, timestamps=True)

    assert list(server_log.lines(TrackedServer(record), selection)) == ["a line"]
    fake.check()


def test_failed_loads_are_found_in_a_log() -> None:
    """The last reason for each version."""
    log = [
        "E loader: Loading servable: {name: m version: 2} failed: first",
        "I Retrying of loading servable {name: m version: 2}",
        "E loader: Loading servable: {name: m version: 2} failed: second",
        "E loader: Loading servable: {name: n version: 1} failed: other",
    ]
    assert server_log.load_failures(log) == {("m", 2): "second", ("n", 1): "other"}
