"""The journal of a model: appended by several processes, and readable although a writer was killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tfsctl.core.history import journal
from tfsctl.core.history.event import Event

WRITERS, LINES = 4, 50
_WRITER = """
import sys
from pathlib import Path
from tfsctl.core.history import journal
from tfsctl.core.history.event import Event
for line in range(int(sys.argv[3])):
    assert journal.append(Path(sys.argv[1]), Event("label", "m", message=f"{sys.argv[2]}-{line} " + "x" * 2000)) == ""
"""


def test_events_round_trip(tmp_path: Path) -> None:
    """Every field is kept, in the order of the changes."""
    export = Event("export", "m", versions=(7,))
    label = Event("label", "m", versions=(7,), labels={"stable": 7}, labels_before={}, server="s", message="ü\n")

    assert [journal.append(tmp_path, export), journal.append(tmp_path, label)] == ["", ""]
    assert journal.read(tmp_path) == [export, label]
    assert "@" in export.who


def test_an_event_is_recorded_once(tmp_path: Path) -> None:
    """A command that finishes an interrupted change may record it a second time."""
    event = Event("promote", "m")

    assert [journal.append(tmp_path, event) for _ in range(2)] == ["", ""]
    assert journal.read(tmp_path) == [event]


def test_processes_may_append_at_the_same_time(tmp_path: Path) -> None:
    """No line is lost or mixed with another."""
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, tmp_path, str(number), str(LINES)])
        for number in range(WRITERS)
    ]

    assert [writer.wait() for writer in writers] == [0] * WRITERS
    found = [event.message.split()[0] for event in journal.read(tmp_path)]
    assert sorted(found) == sorted(f"{number}-{line}" for number in range(WRITERS) for line in range(LINES))
    for number in range(WRITERS):
        assert [one for one in found if one.startswith(f"{number}-")] == [f"{number}-{line}" for line in range(LINES)]


def test_an_incomplete_line_is_skipped(tmp_path: Path) -> None:
    """As a killed writer leaves it; the next event starts a new line."""
    event = Event("export", "m")
    (tmp_path / journal.JOURNAL_FILE).write_text('{"action": "exp', encoding="utf-8")

    assert journal.append(tmp_path, event) == ""
    assert journal.read(tmp_path) == [event]


def test_keys_of_later_versions_are_ignored(tmp_path: Path) -> None:
    """And so are lines that are not events."""
    lines = '{"action": "export", "model": "m", "weather": "fine"}\n[]\n{"weather": "fine"}\n'
    (tmp_path / journal.JOURNAL_FILE).write_text(lines, encoding="utf-8")

    assert [event.model for event in journal.read(tmp_path)] == ["m"]


def test_a_directory_that_cannot_be_written_is_a_note(tmp_path: Path) -> None:
    """Not an error, because the change itself has been made."""
    note = journal.append(tmp_path / "missing", Event("export", "m"))

    assert note.startswith("the history was not written: ")
    assert journal.read(tmp_path / "missing") == []


def test_a_read_only_directory_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated, because root can write to every directory."""

    def refuse(*_arguments: object) -> int:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        note = journal.append(tmp_path, Event("export", "m"))
    assert note == f"the history was not written: {tmp_path / journal.JOURNAL_FILE}: Permission denied"


def test_a_line_that_does_not_fit_on_the_disk_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk may take a part of a write. The note says so, and the earlier events stay readable."""
    earlier = Event("promote", "m")
    journal.append(tmp_path, earlier)
    text = (tmp_path / journal.JOURNAL_FILE).read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, line: write(descriptor, line[:9]))

    assert journal.append(tmp_path, Event("rollback", "m")).endswith("No space left on device")
    assert (tmp_path / journal.JOURNAL_FILE).read_bytes() == text
