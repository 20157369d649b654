"""The place of the state directory, and its permissions."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest

from tfsctl.engines import state_dir
from tfsctl.engines.registry import records
from tfsctl.errors import EngineError


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
