"""Reads the file in which `exit_recorder` writes how a program ended."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class ExitRecord(NamedTuple):
    """How a program ended: its exit status (negative: the signal), and when, in Unix time in seconds."""

    status: int
    ended_at: float


def read_exit_record(file: Path, pid: int) -> ExitRecord | None:
    """How the process `pid` ended; None if there is no record, or one of another process."""
    try:
        recorded_pid, status, ended_at = file.read_text(encoding="ascii").split()
        return ExitRecord(int(status), float(ended_at)) if int(recorded_pid) == pid else None
    except (OSError, ValueError):
        return None
