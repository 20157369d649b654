"""The requests of an A/B test: read from Envoy's log once each, whatever happens to the reader and to the log."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tfsctl.rollout.experiment import exposure_log, exposure_store
from tfsctl.rollout.experiment.exposure_log import ExposureLog
from tfsctl.rollout.experiment.exposure_store import ArmCounts, Exposure, ExposureStore, Position
from tfsctl.rollout.experiment.latency_histogram import bucket, percentile_ms

VERSIONS = {"a_rest_split": 1, "b_rest_split": 2}
ABOUT: dict[str, Any] = {"a": 1, "b": 2}


def line(key: str, cluster: str = "a_rest_split", *, test: str = "t", **fields: object) -> str:
    """A line as Envoy writes it."""
    document = {"cluster": cluster, "experiment": f"{test}={key}", "grpc": None, "status": 200, "us": 1000}
    return json.dumps({**document, **fields}) + "\n"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[ExposureLog]:
    """The log in tmp_path."""
    with closing(ExposureLog(tmp_path / "log", ExposureStore(tmp_path / "db"), lambda: None)) as opened:
        yield opened


def update(log: ExposureLog, tmp_path: Path, test: str = "t") -> dict[int, tuple[int, int, int, int]]:
    """Read what is new; the counts of each version."""
    log.update(test, ABOUT, VERSIONS)
    arms = ExposureStore(tmp_path / "db").arms()
    return {version: (one.requests, one.errors, one.without_key, one.keys) for version, one in arms.items()}


def test_lines_are_counted_once(log: ExposureLog, tmp_path: Path) -> None:
    """Also if one is written in two parts, and by another reader after the first was killed."""
    path = tmp_path / "log"
    assert update(log, tmp_path) == {}
    whole = line("u1") + line("u2", "b_rest_split", status=500) + line("u1", grpc=0) + line("u3", grpc=13)
    path.write_text(whole + line("u4")[:20])
    assert update(log, tmp_path) == {1: (3, 1, 0, 2), 2: (1, 1, 0, 1)}
    path.write_text(whole + line("u4"))
    with closing(ExposureLog(path, ExposureStore(tmp_path / "db"), lambda: None)) as again:
        assert update(again, tmp_path)[1] == (4, 1, 0, 3)
        assert update(again, tmp_path)[1] == (4, 1, 0, 3)
    assert (tmp_path / "db").stat().st_mode & 0o777 == 0o600


def test_other_lines_are_left_out(log: ExposureLog, tmp_path: Path) -> None:
    """Of another test, of no version, of requests that were not answered, and damaged ones."""
    lines = [line("u", test="earlier"), line("u", "a_rest_direct"), line("u", status=0), "{\n", line("-"), line("")]
    (tmp_path / "log").write_text("".join(lines))
    assert update(log, tmp_path) == {1: (2, 0, 2, 0)}


def test_a_new_test_begins_at_zero(log: ExposureLog, tmp_path: Path) -> None:
    """The counts of the last one are gone."""
    (tmp_path / "log").write_text(line("u1"))
    update(log, tmp_path)
    with (tmp_path / "log").open("a") as file:
        file.write(line("u2", test="next"))
    assert update(log, tmp_path, "next") == {1: (1, 0, 0, 1)}
    store = ExposureStore(tmp_path / "db")
    assert store.experiment() == "next"
    assert store.describe() == ABOUT


def test_a_large_log_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Envoy still writes to the old file is counted too."""
    monkeypatch.setattr(exposure_log, "MAX_LOG_BYTES", 50)
    path, reopened = tmp_path / "log", []
    envoy = path.open("w")
    with closing(ExposureLog(path, ExposureStore(tmp_path / "db"), lambda: reopened.append(1))) as log:
        envoy.write(line("u1"))
        envoy.flush()
        assert update(log, tmp_path)[1][0] == 1
        assert (reopened, path.exists()) == ([1], False)
        envoy.write(line("u2"))
        envoy.close()
        path.write_text(line("u3"))
        assert update(log, tmp_path)[1][0] == 3


def test_lines_written_just_before_the_log_is_replaced_are_counted(
    log: ExposureLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Envoy writes a line and opens a new file between two steps of the reader."""
    path = tmp_path / "log"
    path.write_text(line("u1"))
    assert update(log, tmp_path)[1][0] == 1
    has_successor = ExposureLog._has_successor

    def replaced_meanwhile(self: ExposureLog) -> bool:
        if path.stat().st_size == len(line("u1")):
            with path.open("a") as file:
                file.write(line("u2"))
            path.rename(tmp_path / "old")
            path.write_text(line("u3") * 3)
        return has_successor(self)

    monkeypatch.setattr(ExposureLog, "_has_successor", replaced_meanwhile)
    assert update(log, tmp_path)[1][0] == 5


def test_what_cannot_be_stored_is_counted_later(
    log: ExposureLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, for example."""
    (tmp_path / "log").write_text(line("u1"))

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(ExposureStore, "add", fail)
        with pytest.raises(sqlite3.OperationalError):
            update(log, tmp_path)
    assert update(log, tmp_path)[1][0] == 1


def test_counts_are_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests of another version that are added while a command reads are not seen in part."""
    store = ExposureStore(tmp_path / "db")
    store.begin("t", ABOUT)
    store.add([Exposure(1, "u1", False, 1.0)], Position(1, 1))

    def arm_counts(requests: int, errors: int, without_key: int) -> ArmCounts:
        store.add([Exposure(2, "u2", False, 1.0)], Position(1, 2))
        return ArmCounts(requests, errors, without_key)

    monkeypatch.setattr(exposure_store, "ArmCounts", arm_counts)
    assert store.arms().keys() == {1}
    monkeypatch.undo()
    assert store.arms().keys() == {1, 2}


def test_only_the_front_creates_the_database(tmp_path: Path) -> None:
    """A command that reads does not. A damaged database is replaced."""
    store = ExposureStore(tmp_path / "db")
    with pytest.raises(sqlite3.OperationalError):
        store.arms()
    assert (store.experiment(), store.path.exists()) == (None, False)
    store.path.write_bytes(b"not a database " * 100)
    assert store.describe() is None
    assert store.begin("t", ABOUT) == Position()
    assert store.experiment() == "t"


def test_keys_that_both_versions_answered_are_told_apart(tmp_path: Path) -> None:
    """They are told apart, however many keys are looked up at once."""
    store = ExposureStore(tmp_path / "db")
    store.begin("t", ABOUT)
    store.add([Exposure(1, f"u{n}", False, 1.0) for n in range(1200)] + [Exposure(2, "u7", False, 1.0)], Position(1, 1))
    found = store.versions_of(f"u{n}" for n in range(2000))
    assert len(found) == 1200
    assert (found["u7"], found["u8"]) == ((1, 2), (1,))
    assert (store.keys_of_several_versions(), store.keys_of_one_version()) == (1, {1: 1199})


def test_percentiles_are_exact_to_2_5_percent() -> None:
    """Exact to 2.5 %."""
    counts: dict[int, int] = {}
    for microseconds in range(1, 100_001, 10):
        counts[bucket(microseconds)] = counts.get(bucket(microseconds), 0) + 1
    assert percentile_ms(counts, 0.5) == pytest.approx(50, rel=0.03)
    assert percentile_ms(counts, 0.99) == pytest.approx(99, rel=0.03)
    assert percentile_ms({}, 0.5) is None
