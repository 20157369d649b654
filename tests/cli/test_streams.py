"""Where output goes: pipes that close, disks that are full, streams that are closed, encodings, terminals of any width."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from cli_runner import MemoryStream
from model_servers import clean_environment

from tfsctl.cli.output import terminal
from tfsctl.errors import TfsctlError

EXPLAIN = ("explain", "Could not find base path /models/ü for servable x")


def tfsctl(folder: Path, *argv: str, redirected: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run tfsctl as a process, with redirected streams."""
    return subprocess.run(
        ["sh", "-c", f'"$@" {redirected}', "sh", sys.executable, "-m", "tfsctl", *argv],
        env=clean_environment(folder) | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.mark.parametrize("argv", [EXPLAIN, ("ps", "--json"), ("compose", "--help")])
def test_closed_pipe_is_not_a_failure(tmp_path: Path, argv: Sequence[str]) -> None:
    """As with `| head`: no traceback, and exit code 0 for `pipefail`."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "tfsctl", *argv],
        env=clean_environment(tmp_path),
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=240,
        check=False,
    )
    os.close(writing)
    assert done.stderr == b""
    assert done.returncode == 0 or "--help" in argv  # which Typer prints


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_is_reported(tmp_path: Path) -> None:
    """One message with its cause, and an exit code other than 0."""
    done = tfsctl(tmp_path, *EXPLAIN, redirected=">/dev/full")
    error, cause, _hint = done.stderr.splitlines()
    assert (done.returncode, error) == (1, "error: cannot write the answer: No space left on device")
    assert cause == "cause: a disk is full"


def test_closed_streams_are_tolerated(tmp_path: Path) -> None:
    """As in some cron jobs: messages are dropped, an answer that cannot be printed is an error."""
    done = tfsctl(tmp_path, *EXPLAIN, redirected=">&-")
    assert (done.returncode, done.stderr) == (1, "error: cannot write the answer: stdout is closed\n")
    done = tfsctl(tmp_path, "--version", redirected=">&-")
    assert (done.returncode, done.stderr) == (1, "error: cannot write the answer: stdout is closed\n")
    for command in ("predict", "explain"):
        done = tfsctl(tmp_path, command, "-", redirected="<&-")
        assert (done.returncode, done.stderr.splitlines()[0][:16]) == (2, "error: nothing t")
    assert tfsctl(tmp_path, "explain", "nothing known", redirected="2>&-").returncode == 4


def test_unencodable_characters_are_escaped(tmp_path: Path) -> None:
    """The answer is printed with escapes, not with a traceback."""
    done = tfsctl(tmp_path, *EXPLAIN, PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert done.stdout.startswith("Could not find base path /models/\\xfc for servable x\n")


def drawn(monkeypatch: pytest.MonkeyPatch, width: int, columns: Sequence[str], *rows: Sequence[str]) -> list[str]:
    """The lines of a table on a terminal of that width."""
    screen = MemoryStream(terminal=True)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", str(width))
    terminal.answer_table(columns, rows)
    return [line.rstrip() for line in screen.written().splitlines() if line.strip()]


def test_table_wraps_only_its_widest_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and states stay whole; wide characters count twice."""
    columns, row = ("model", "state", "error"), ("review", "AVAILABLE", "日本 " * 10)
    wide = drawn(monkeypatch, 100, columns, row)
    assert len(wide) == 3
    narrow = drawn(monkeypatch, 44, columns, row)
    assert narrow[2].startswith(" review   AVAILABLE   日本")
    assert len(narrow) == 5
    assert sum(line.count("日本") for line in narrow) == 10


def test_a_date_is_not_wrapped_if_a_sentence_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is wrapped, though it is shorter than the time; the column without values is dropped."""
    columns = ("time", "who", "server", "message")
    rows = (
        ("2026-11-29T04:25:29+00:00", "me", "", "fewer errors in Nantes"),
        ("2026-11-29T04:26:00+00:00", "me", "", ""),
    )
    assert drawn(monkeypatch, 55, columns, *rows)[2:] == [
        " 2026-11-29T04:25:29+00:00   me    fewer errors in",
        "                                   Nantes",
        " 2026-11-29T04:26:00+00:00   me",
    ]


def test_narrow_terminal_prints_one_line_per_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are not broken; empty cells are left out."""
    columns = ("name", "models", "REST", "status")
    first, second = ("shop", "house_price 1 AVAILABLE\nreview 2 LOADING", "8501", "up 2 min"), ("b", "m", "", "up")
    assert drawn(monkeypatch, 30, columns, first, second) == [
        *("name: shop", "models: house_price 1 AVAILABLE", "models: review 2 LOADING", "REST: 8501"),
        *("status: up 2 min", "name: b", "models: m", "status: up"),
    ]


def test_answer_to_a_stream_that_the_users_code_closed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may close `sys.__stdout__` during an export."""
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr("sys.stdout", closed)

    with pytest.raises(TfsctlError, match="stdout is closed"):
        terminal.answer("model: net")
