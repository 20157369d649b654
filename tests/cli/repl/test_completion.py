"""Completion in `tfsctl repl`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tfsctl.cli.repl.completion import complete
from tfsctl.cli.repl.repl_session import ReplSession


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (":met", [":metadata"]),
        (":ver", [":verb", ":version"]),
        (":verb r", ["regress"]),
        (":signature text_", ["text_bytes", "text_column"]),
        (":version ", ["7", "latest"]),
        (":label ", ["stable", "canary"]),
        (":model ", ["echo", "other"]),
        (":set t", ["top", "time", "timeout"]),
        (":set json o", ["on", "off"]),
        (":set only ", ["x"]),
        (":set nope x", []),
        (":nope x", []),
        (":q x", []),
        ("x", ["x="]),
        ("y", []),
        ("x=1", []),
    ],
)
def test_completion_uses_server_metadata(session: ReplSession, text: str, words: list[str]) -> None:
    """Commands and their arguments: signatures, versions, labels, models, settings; and inputs."""
    assert [word for word, _ in complete(session, text)] == words
    assert all(text.endswith(word[:length]) for word, length in complete(session, text))


def test_paths_are_completed_after_commands_that_take_files(session: ReplSession, tmp_path: Path) -> None:
    """After :file, :set labels and -i name=@; directories end with a slash."""
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows.csv").touch()
    found = [f"{tmp_path}/rows/", f"{tmp_path}/rows.csv"]
    for text in (f":file {tmp_path}/ro", f":set labels {tmp_path}/ro", f"-i x=@{tmp_path}/ro"):
        assert [word for word, _ in complete(session, text)] == found


def test_completion_without_a_server(session: ReplSession) -> None:
    """Completion reports no errors."""
    session.client.close()
    session.client = replace(session.target, rest_port=9).connect()
    assert [word for word, _ in complete(session, ":version ")] == ["latest"]
    assert [word for word, _ in complete(session, ":sig")] == [":signature"]
