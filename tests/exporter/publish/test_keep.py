"""`export --keep N` removes old versions, but none that a server serves."""

from __future__ import annotations

from pathlib import Path

import pytest
from exporting import Export

from tfsctl.cli.commands.export.export import _remove_old_versions
from tfsctl.core import model_dir
from tfsctl.core.history.journal import JOURNAL_FILE
from tfsctl.core.types import ModelRef, VersionStatus
from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.engines.registry import fleet
from tfsctl.engines.registry.tracked_server import ENDED, RUNNING, TrackedServer
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import ServerUnreachable
from tfsctl.serving_config.model_config import ModelConfig
from tfsctl.serving_config.serving_config import ServingConfig


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A model with five versions."""
    for name in ("1", "2", "00000003", "4", "5"):
        (tmp_path / "net" / name / "variables").mkdir(parents=True)
        (tmp_path / "net" / name / "saved_model.pb").touch()
    return tmp_path / "net"


def versions_in(base: Path) -> list[int]:
    """The numbers of the versions that are left; nothing else may be left."""
    others = {path.name for path in base.iterdir()} - {found.path.name for found in model_dir.list_versions(base)}
    assert others <= {JOURNAL_FILE}
    return [found.version for found in model_dir.list_versions(base)]


def server(
    monkeypatch: pytest.MonkeyPatch, base: Path, *served: int, state: str = RUNNING, answers: bool = True
) -> None:
    """Let there be one server of tfsctl, which serves these versions from `base`."""
    record = ServerRecord("srv", "embedded", "127.0.0.1", 1, 2, ("other_name",), 1, None, 0.0, None)
    config = ServingConfig((ModelConfig("other_name", str(base)),))
    launch = LaunchSpec("srv", config, "127.0.0.1").to_document()
    monkeypatch.setattr(fleet, "servers", lambda: [TrackedServer(record, state, launch)])

    def status(_client: object, ref: ModelRef) -> tuple[VersionStatus, ...]:
        assert ref.name == "other_name"
        if not answers:
            raise ServerUnreachable("nobody answers")
        return (*(VersionStatus(version, "AVAILABLE") for version in served), VersionStatus(2, "END"))

    monkeypatch.setattr("tfsctl.clients.rest.RestClient.status", status)


def test_highest_versions_are_kept(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without servers, all others are removed."""
    monkeypatch.setattr(fleet, "servers", list)
    assert _remove_old_versions(base, 2) == ([1, 2, 3], [])
    assert versions_in(base) == [4, 5]
    assert _remove_old_versions(base, 7) == ([], [])


def test_served_versions_are_kept(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may serve an old version; one that it has unloaded is removed."""
    server(monkeypatch, base, 3, 5)
    assert _remove_old_versions(base, 1) == ([1, 2, 4], ["version 3 was kept: the server srv serves it"])
    assert versions_in(base) == [3, 5]


def test_servers_of_other_directories_and_ended_servers_are_ignored(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They serve no version of this directory."""
    server(monkeypatch, base.parent, 1, 2, 3, 4, 5)
    assert _remove_old_versions(base, 4) == ([1], [])
    server(monkeypatch, base, 2, 3, 4, 5, state=ENDED)
    assert _remove_old_versions(base, 3) == ([2], [])


def test_nothing_is_removed_that_an_unreachable_server_could_serve(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows which version it serves."""
    server(monkeypatch, base, answers=False)
    assert _remove_old_versions(base, 1) == (
        [],
        ["no version was removed: the server srv does not report which versions it serves"],
    )
    assert versions_in(base) == [1, 2, 3, 4, 5]


def test_versions_are_removed_only_after_a_successful_export(export: Export) -> None:
    """A failed export removes nothing; a successful one says what it removed."""
    net = "import keras\nmodel = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])\n"
    for version in (1, 2):
        assert export(net, "--version", version).code == 0
    assert export("raise ValueError", "--keep", 1).code != 0
    assert versions_in(export.folder / "net") == [1, 2]
    result = export(net, "--version", 3, "--keep", 2)
    assert "removed versions: 1" in result.stderr.splitlines()
    assert versions_in(export.folder / "net") == [2, 3]
