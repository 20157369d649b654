"""`tfsctl versions`, `verify`, `history` and `models` on directories, without servers."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from cli_runner import MemoryStream, RunCli
from scale_models import write_scale_model

from tfsctl.cli.commands.rollout.history import history
from tfsctl.cli.output import versions_table
from tfsctl.core.history import journal
from tfsctl.core.history.event import Event
from tfsctl.core.version_files.blessings import read_blessings
from tfsctl.core.version_files.file_hashes import hash_files
from tfsctl.core.version_files.manifest import MANIFEST_FILE
from tfsctl.engines.registry import fleet, served_versions
from tfsctl.engines.registry.tracked_server import TrackedServer
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import ExitCode, InvalidInput
from tfsctl.rollout import removal
from tfsctl.rollout.front import operations
from tfsctl.rollout.front.front_files import FrontFiles, FrontState, SlotState
from tfsctl.rollout.front.rollout_state import Rollout, RolloutPlan
from tfsctl.rollout.inventory import ModelInventory, ServerOfModel
from tfsctl.serving_config.model_config import ModelConfig


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The model `scale` of three versions; the second and the third have manifests."""
    for version in (1, 2, 3):
        write_scale_model(tmp_path / "models/scale" / str(version), float(version))
    for version in (2, 3):
        path = tmp_path / "models/scale" / str(version)
        document: dict[str, object] = {"created": "2026-11-01T00:00:00Z", "files": hash_files(path)}
        if version == 3:
            document["blessings"] = [{"time": 1793491200, "rows": 200, "gates": ["agreement<1"], "passed": True}]
        (path / MANIFEST_FILE).parent.mkdir()
        (path / MANIFEST_FILE).write_text(json.dumps(document))
    return tmp_path / "models/scale"


def test_versions_of_a_directory(base: Path, run_cli: RunCli) -> None:
    """The facts of each version, lowest first."""
    (model,) = json.loads(run_cli("versions", base, "--json").stdout)["models"]
    first, second, third = model["versions"]

    assert (model["model"], model["path"], model["servers"]) == ("scale", str(base), [])
    assert [one["version"] for one in model["versions"]] == [1, 2, 3]
    assert (first["manifest"], first["signatures"], first["fingerprint"]) == (False, ["serving_default"], None)
    assert first["size_bytes"] == (base / "1/saved_model.pb").stat().st_size
    assert (second["created"], second["blessing"]) == ("2026-11-01T00:00:00Z", None)
    assert (third["blessing"]["time"], third["blessing"]["passed"]) == ("2026-11-01T00:00:00Z", True)


def test_versions_in_a_pipe(base: Path, run_cli: RunCli) -> None:
    """One line for each version; one that cannot be read says why."""
    (base / "1/saved_model.pb").write_bytes(b"not a model")
    lines = run_cli("versions", "ls", base).stdout.splitlines()

    assert lines[0] == f"scale: {base}"
    assert "saved_model.pb" in lines[1].split("\t")[3]
    assert lines[3].split("\t")[5:] == ["yes", "passed", ""]


def test_a_server_of_several_models_is_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    """If it does not count requests. Otherwise, each model has its own number."""
    plain = ServerOfModel("shop", "a", "http://127.0.0.1:8501", {})
    counted = ServerOfModel("other", "a", "http://127.0.0.1:8601", {}, {"OK": 3})
    versions_table.print_models([ModelInventory(name, None, (), (plain, counted)) for name in ("a", "b")])

    assert capsys.readouterr().err.splitlines() == [
        "other: http://127.0.0.1:8601, requests: 3 OK",
        "other: http://127.0.0.1:8601, requests: 3 OK",
        "shop: http://127.0.0.1:8501 (requests are not counted: tfsctl serve --metrics counts them)",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["versions"], 4, "error: no server runs that tfsctl started"),
        (["versions", "nobody"], 4, "error: no running server serves 'nobody', and there is no such directory"),
        (["versions", "{base}/1"], 2, "error: {base}/1 is one version"),
        (["versions", "{base}/.."], 4, "error: {base}/.. has no versions of a model"),
        (["versions", "rm", "{base}", "x"], 2, "error: 'x' is not a version number"),
        (["versions", "rm", "{base}", "1", "9"], 4, "error: there is no version 9 in {base} (versions: 1, 2, 3)"),
        (["history", "{base}/nobody"], 4, "error: there is no directory {base}/nobody"),
        (["models", "{base}/nobody"], 4, "error: there is no directory {base}/nobody"),
        (["label", "scale", "stable"], 2, "error: 'stable' is not LABEL=VERSION"),
        (["label", "scale", "a=1", "a=2"], 2, "error: the label a is given twice"),
        (["label", "scale", "a=1"], 4, "error: no server started by tfsctl is running"),
        (["promote", "scale", "--port", "1"], 2, "error: --host and --port name a server that tfsctl did not start"),
        (["promote", "scale", "--config", "{base}/c"], 4, "error: there is no file {base}/c"),
    ],
)
def test_an_error_names_what_is_wrong_and_nothing_is_removed(
    arguments: list[str], code: int, message: str, base: Path, run_cli: RunCli
) -> None:
    """One line names what is wrong; nothing is removed."""
    shown = run_cli(*(argument.format(base=base) for argument in arguments))

    assert (shown.code, shown.stderr.splitlines()[0]) == (code, message.format(base=base))
    assert (base / "1").is_dir()


def test_removal_is_recorded(base: Path, run_cli: RunCli) -> None:
    """The history has the removed versions and the comment."""
    removed = json.loads(run_cli("versions", "rm", base, "2", "-m", "wrong labels", "--json").stdout)
    pruned = json.loads(run_cli("versions", "prune", base, "--keep", "1", "--json").stdout)
    shown = run_cli("history", base, "--limit", "1").stdout.split("\t")

    assert (removed["removed"], removed["left"], pruned["removed"], pruned["left"]) == ([2], [1, 3], [1], [3])
    assert [(one.action, one.versions, one.message) for one in journal.read(base)] == [
        ("remove", (2,), "wrong labels"),
        ("prune", (1,), ""),
    ]
    assert shown[2:4] == ["prune", "1"]


def test_versions_removed_before_a_failure_are_recorded(
    base: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the version that stayed and those that are gone; no temporary folder is left."""
    rename = os.rename

    def refuse(source: Path, target: Path) -> None:
        if source.name == "2":
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    shown = run_cli("versions", "rm", base, "1", "2")

    assert shown.code == ExitCode.FAILED
    reason = "could not be removed: Read-only file system (removed before it: 1)"
    assert f"error: version 2 in {base} {reason}\n" in shown.stderr
    assert [one.versions for one in journal.read(base)] == [(1,)]
    assert sorted(path.name for path in base.iterdir()) == [journal.JOURNAL_FILE, "2", "3"]


@pytest.mark.parametrize(
    ("state", "hint"),
    [("ended", "stop the server"), ("running", "move the label with tfsctl label, or stop the server")],
)
def test_the_label_of_a_server_that_has_ended_cannot_be_moved(
    base: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, state: str, hint: str
) -> None:
    """The hint does not suggest it."""
    record = ServerRecord("s", "embedded", "127.0.0.1", 9, 9, ("scale",), 1, None, 0.0, None)
    server = TrackedServer(record, state)
    monkeypatch.setattr(fleet, "servers", lambda: [server])
    monkeypatch.setattr(
        served_versions, "models_in", lambda _server, _base: [ModelConfig("scale", str(base), labels={"stable": 2})]
    )
    monkeypatch.setattr(served_versions, "_states", lambda _server, _model: {2})
    shown = run_cli("versions", "rm", base, "2")

    assert "version 2 cannot be removed: the label stable of the server s names it" in shown.stderr
    assert shown.stderr.endswith(f"hint: {hint}\n")


def test_a_canary_is_not_removed_or_mistaken(base: Path, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The front reports only its stable version as served; `promote --version` must name the canary."""
    record = ServerRecord("s", "embedded", "127.0.0.1", 9, 9, ("scale",), 1, None, 0.0, None)
    server = TrackedServer(record, launch={"front": True})
    plan = RolloutPlan("scale", 3, (10.0,), 60.0, (100,), 0.01, "rollback", None, None, 60.0)
    slots = {"a": SlotState((9, 9), None, {"scale": [2]}), "b": SlotState((9, 9), None, {"scale": [2, 3]})}
    rollout = Rollout(plan, 2, "user", 0.0, status="running")
    FrontFiles("s").write(FrontState(slots, {"scale": 2}, "/x", rollout=rollout))  # type: ignore[arg-type] # names of slots
    model = ModelConfig("scale", str(base))
    monkeypatch.setattr(fleet, "servers", lambda: [server])
    monkeypatch.setattr(removal, "models_in", lambda _server, _base: [model])
    monkeypatch.setattr(served_versions, "models_in", lambda _server, _base: [model])
    monkeypatch.setattr(served_versions, "_states", lambda _server, _model: {2})
    monkeypatch.setattr(operations, "find_front", lambda _model, **_options: server)
    shown = run_cli("versions", "rm", base, "3")

    assert "version 3 cannot be removed: the front s serves it\n" in shown.stderr
    operations.check_version("scale", 3)
    with pytest.raises(InvalidInput, match="version 3 of scale is being rolled out, not version 1"):
        operations.check_version("scale", 1)


@pytest.mark.parametrize("command", [["rm", "1"], ["prune", "--keep", "2"]], ids=" ".join)
def test_all_directories_of_a_version_are_removed(base: Path, run_cli: RunCli, command: list[str]) -> None:
    """1 and 01 are the same version."""
    shutil.copytree(base / "1", base / "01")
    shown = json.loads(run_cli("versions", command[0], base, *command[1:], "--json").stdout)
    assert (shown["removed"], shown["left"]) == ([1], [2, 3])


def test_times_on_a_terminal_are_on_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 80 columns, the message is wrapped, and the time is not; without a server there is no column for it."""
    event = Event(
        "export", "m", (1,), message="from a file with a long name.py", time="2026-11-29T04:25:29+00:00", who="me@host"
    )
    journal.append(tmp_path, event)
    screen = MemoryStream(terminal=True)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "80")

    history(str(tmp_path))

    lines = [line.rstrip() for line in screen.written().splitlines() if line.strip()]
    assert lines[2] == " 2026-11-29T04:25:29Z   me@host   export   1      from a file with a long"
    assert lines[3].strip() == "name.py"


def test_verify_names_changed_missing_and_added_files(base: Path, run_cli: RunCli) -> None:
    """Changed, missing and added files are named; a blessing that was written later is no change."""
    file = base / "3" / MANIFEST_FILE
    file.write_text(json.dumps(json.loads(file.read_text()) | {"blessings": []}))
    assert run_cli("verify", base / "3").stdout == f"{base / '3'}: ok\n"
    (base / "2/saved_model.pb").write_bytes(b"changed")
    (base / "2/more").touch()
    shown = run_cli("verify", base)
    document = json.loads(run_cli("verify", base, "--json").stdout)

    assert shown.code == 1
    assert shown.stdout.splitlines() == [
        f"{base / '1'}: cannot be checked: it has no manifest with hashes",
        f"{base / '2'}: changed saved_model.pb",
        f"{base / '2'}: added more",
        f"{base / '3'}: ok",
    ]
    assert document["ok"] is False
    assert [one["result"] for one in document["versions"]] == ["no manifest", "changed", "ok"]


def test_models_below_a_folder(base: Path, run_cli: RunCli) -> None:
    """Model directories at any depth, but neither hidden ones nor what lies inside a version."""
    shutil.copytree(base, base.parent / "team/other")
    shutil.copytree(base, base.parent / ".hidden")
    shutil.copytree(base / "1", base / "1/assets/7")
    found = json.loads(run_cli("models", base.parent, "--json").stdout)["models"]

    assert [(one["model"], one["versions"], one["servers"]) for one in found] == [
        ("scale", [1, 2, 3], []),
        ("other", [1, 2, 3], []),
    ]
    assert run_cli("models", base.parent).stdout.splitlines()[0].split("\t")[:3] == [str(base), "3", "3"]


def test_entries_that_are_no_blessings_are_skipped(base: Path) -> None:
    """The blessings are sorted by time. A number that is no time is shown as it is."""
    file = base / "3" / MANIFEST_FILE
    document = json.loads(file.read_text())
    earlier = {"time": 1790812800, "passed": False}
    document["blessings"] += [earlier, {"passed": "yes"}, 7, {"time": float("inf"), "passed": True}]
    file.write_text(json.dumps(document))

    assert [(one.time, one.passed) for one in read_blessings(base / "3")] == [
        ("2026-10-01T00:00:00Z", False),
        ("2026-11-01T00:00:00Z", True),
        ("inf", True),
    ]
    assert read_blessings(base / "1") == []
