"""A change of labels that fails or is killed at any step: what was before, or what was wanted, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import label_server
import pytest
from label_server import BEFORE, FakeModel

from tfsctl.core.history import journal
from tfsctl.core.version_files.manifest import MANIFEST_FILE
from tfsctl.engines.registry.tracked_server import TrackedServer
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import EngineError, InvalidInput, NotBlessed, NotFound, RolloutError
from tfsctl.rollout.labels import intent, transition
from tfsctl.rollout.labels.label_changes import label_state, promote, rollback, set_labels
from tfsctl.rollout.labels.managed_model import TrackedServerModel
from tfsctl.serving_config.model_config import ModelConfig, VersionPolicy

AFTER = ModelConfig("m", "/m", VersionPolicy(specific=(1, 2)), {"stable": 2, "previous": 1})
FIRST_STEPS = 3


def test_promote_keeps_the_earlier_version_and_rollback_unloads_the_new_one(tmp_path: Path) -> None:
    """The earlier stable version stays loaded, and rollback unloads the new one."""
    model = FakeModel(tmp_path)
    promoted = promote(model)

    assert (model.read("stored"), model.read("served")) == (AFTER, AFTER)
    assert (promoted.labels, promoted.released, promoted.loaded) == (AFTER.labels, (0,), (1, 2))
    assert (promoted.unlabelled_version, promoted.notes) == (2, ())
    back = rollback(model)
    assert (back.labels, back.released) == ({"stable": 1}, (2,))
    assert [event.action for event in journal.read(tmp_path / "m")] == ["promote", "rollback"]


def test_rollback_twice_follows_the_history(tmp_path: Path) -> None:
    """Without a label `previous`, the version that was stable before is known from the history."""
    model = FakeModel(tmp_path)
    set_labels(model, {"stable": 0}, removed=["previous"])
    promote(model, version=1)
    promote(model, version=2)

    assert [rollback(model).labels["stable"] for _ in range(2)] == [1, 0]


def test_rollback_without_an_earlier_version(tmp_path: Path) -> None:
    """The first version has none before it."""
    model = FakeModel(tmp_path)
    promote(model)
    rollback(model)
    with pytest.raises(NotFound, match="no version of m was stable before version 1"):
        rollback(model)


def test_a_version_that_another_label_names_stays(tmp_path: Path) -> None:
    """And a note says that it answers requests without a label."""
    model = FakeModel(tmp_path)
    set_labels(model, {"canary": 2})
    promoted = promote(model)
    back = rollback(model)

    assert promoted.labels == {"stable": 2, "previous": 1, "canary": 2}
    assert (back.loaded, back.released, back.unlabelled_version) == ((1, 2), (), 2)
    assert back.notes == (
        "requests without a label go to version 2, the highest that is loaded, and not to stable; tfsctl label rm m "
        "canary unloads it",
    )


def test_nothing_is_sent_for_a_change_that_is_refused(tmp_path: Path) -> None:
    """Nothing is sent for what cannot be done."""
    model = FakeModel(tmp_path)
    with pytest.raises(InvalidInput, match="version 1 of m is stable already"):
        promote(model, version=1)
    with pytest.raises(NotFound, match=r"m has no version 9: .*m holds 0, 1, 2"):
        promote(model, version=9)
    with pytest.raises(NotFound, match=r"m has no label x \(labels: stable=1, previous=0\)"):
        set_labels(model, {}, removed=["x"])
    assert model.read("served") == BEFORE


def test_require_blessing_reads_the_last_comparison(tmp_path: Path) -> None:
    """The last comparison counts."""
    model = FakeModel(tmp_path)
    file = tmp_path / "m/2" / MANIFEST_FILE
    with pytest.raises(NotBlessed, match="version 2 of m has no blessing"):
        promote(model, require_blessing=True)
    file.parent.mkdir()
    blessings: list[Any] = [{"time": "2026-11-01", "passed": True}, {"time": "2026-11-02", "passed": False}, 7]
    file.write_text(json.dumps({"blessings": blessings}))
    with pytest.raises(NotBlessed, match=r"version 2 of m failed its last comparison \(2026-11-02\)"):
        promote(model, require_blessing=True)
    blessings.append({"time": "2026-11-03", "passed": True})
    file.write_text(json.dumps({"blessings": blessings}))
    assert promote(model, require_blessing=True).labels["stable"] == 2


@pytest.mark.parametrize("refused", ["1", "2", "3"])
def test_a_failed_step_restores_the_previous_labels(tmp_path: Path, refused: str) -> None:
    """Whichever of the three calls the server refuses."""
    model = FakeModel(tmp_path, refused=refused)
    with pytest.raises(
        RolloutError, match="the labels of m were not changed, and the previous state is restored: refused"
    ):
        promote(model)

    assert (model.read("stored"), model.read("served")) == (BEFORE, BEFORE)
    assert journal.read(tmp_path / "m") == []
    assert intent.read(model.key) is None


def test_a_version_that_cannot_be_loaded_restores_the_previous_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is in the error."""
    monkeypatch.setattr(transition, "OLD_ERROR_S", 0.0)
    model = FakeModel(tmp_path, broken=(2,))
    with pytest.raises(RolloutError, match="restored: version 2 of m cannot be loaded: it is broken"):
        promote(model)

    assert (model.read("stored"), model.read("served")) == (BEFORE, BEFORE)


def test_what_cannot_be_restored_is_tried_again(tmp_path: Path) -> None:
    """The error says so, and the next command restores it."""
    model = FakeModel(tmp_path, refused="2 3 4 5")
    with pytest.raises(RolloutError, match="not changed: refused; restoring the previous state failed too: refused"):
        promote(model)
    state = label_state(FakeModel(tmp_path))

    assert (model.read("stored"), model.read("served")) == (BEFORE, BEFORE)
    assert "had been interrupted, and is now undone" in state.notes[0]


@pytest.mark.server  # it starts a process for each step
def test_killed_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next command finishes the change or undoes it, and the history has it once or not at all."""
    environment = os.environ | {"PYTHONPATH": str(Path(label_server.__file__).parent)}
    command = [sys.executable, label_server.__file__, str(tmp_path)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    codes = json.loads(done.stdout)
    outcomes = []
    for step in range(1, len(codes) + 1):
        folder = tmp_path / str(step)
        monkeypatch.setenv("TFSCTL_STATE_DIR", str(folder / "state"))
        model = FakeModel(folder)
        labels = label_state(model).labels
        wanted, events = (AFTER, ["promote"]) if labels == AFTER.labels else (BEFORE, [])
        assert (model.read("stored"), model.read("served")) == (wanted, wanted), step
        assert [event.action for event in journal.read(folder / "m")] == events, step
        assert intent.read(model.key) is None
        outcomes.append(labels == AFTER.labels)
    assert codes == [-signal.SIGKILL] * (len(codes) - 1) + [0]
    assert outcomes == sorted(outcomes)  # undone up to some step, finished from there on
    assert not any(outcomes[:FIRST_STEPS])
    assert all(outcomes[-FIRST_STEPS:])


def test_an_intent_of_an_earlier_server_is_dropped(tmp_path: Path) -> None:
    """A server of the same name that was started anew serves something else."""
    model = FakeModel(tmp_path, refused="2 3 4 5")
    with pytest.raises(RolloutError):
        promote(model)
    anew = ModelConfig("m", "/m", VersionPolicy(specific=(0,)), {})
    fresh = FakeModel(tmp_path)
    fresh.save(anew)
    fresh.reload(anew)

    assert (label_state(fresh).labels, label_state(fresh).notes) == ({}, ())
    assert fresh.read("served") == anew


def test_a_change_is_undone_if_its_note_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk may be full by then. The server is asked for the previous state all the same."""
    model = FakeModel(tmp_path, refused="2")
    notes: list[intent.Intent] = []

    def write(_key: str, note: intent.Intent) -> None:
        if notes:
            raise EngineError("cannot write: No space left on device")
        notes.append(note)

    monkeypatch.setattr(intent, "write", write)
    with pytest.raises(RolloutError, match="the previous state is restored: refused"):
        promote(model)
    assert (model.read("stored"), model.read("served")) == (BEFORE, BEFORE)


def test_labels_of_a_front_do_not_change() -> None:
    """The front refuses reloads, so nothing is begun."""
    record = ServerRecord("s", "embedded", "127.0.0.1", 9, 9, ("m",), 1, None, 0.0, None)
    launch = {"front": True, "config": {"models": [asdict(ModelConfig("m", "/m"))]}}
    with patch.object(TrackedServerModel, "_spec"):
        model = TrackedServerModel(TrackedServer(record, launch=launch), "m")
    with pytest.raises(InvalidInput, match="m is served by a front, whose labels cannot change"):
        set_labels(model, {"stable": 1})


def test_hints_name_the_model_as_the_command_did(tmp_path: Path) -> None:
    """A name with spaces is quoted, and the options that chose the server are there."""
    model = FakeModel(tmp_path, refused="2 3 4 5")
    model.target = "'a b' --server s"
    set_labels(FakeModel(tmp_path), {"stable": 1}, removed=["previous"])
    with pytest.raises(NotFound) as no_earlier:
        rollback(model)
    with pytest.raises(RolloutError) as not_restored:
        promote(model)

    assert no_earlier.value.hint == "tfsctl label 'a b' --server s stable=VERSION"
    assert not_restored.value.hint == "tfsctl label ls 'a b' --server s tries to restore it again"


def test_the_hint_of_a_missing_blessing_compares_versions_that_are_on_disk(tmp_path: Path) -> None:
    """The stable version if there is one, otherwise another one; a missing version is an error before."""
    model = FakeModel(tmp_path)
    base = tmp_path / "m"
    with pytest.raises(NotBlessed) as with_stable:
        promote(model, version=2, require_blessing=True)
    set_labels(model, {}, removed=["stable", "previous"])
    with pytest.raises(NotBlessed) as without_stable:
        promote(model, version=1, require_blessing=True)
    with pytest.raises(NotFound, match="m has no version 9"):
        promote(model, version=9, require_blessing=True)
    for version in "0", "2":
        (base / version / "saved_model.pb").unlink()
    with pytest.raises(NotBlessed) as alone:
        promote(model, version=1, require_blessing=True)

    assert with_stable.value.hint == f"tfsctl compare {base}/1 {base}/2 --file FILE --fail-if THRESHOLD"
    assert without_stable.value.hint == f"tfsctl compare {base}/0 {base}/1 --file FILE --fail-if THRESHOLD"
    assert alone.value.hint == "remove --require-blessing: there is no other version to compare it with"
