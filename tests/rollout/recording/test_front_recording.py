"""`tfsctl record` of a model behind a front: the requests of both versions, while a rollout goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from cli_runner import RunCli
from fronts import Front, Load
from waiting import wait_for

from tfsctl.rollout.front.front_files import FrontFiles


def index(folder: Path) -> list[dict[str, object]]:
    """The lines of all index files."""
    return [json.loads(line) for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]


@pytest.mark.server
def test_recording_through_a_front(
    front: Front, run_cli: RunCli, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """It begins before the canary and lasts beyond its promotion and the death of the command. Each answer is recorded once."""
    folder = tmp_path / "recordings"
    front.add_version(2)
    argv = [sys.executable, "-m", "tfsctl", "record", "m", "--to", str(folder), "--answers"]
    recorder = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    request.addfinalizer(recorder.wait)
    request.addfinalizer(recorder.kill)
    files = FrontFiles("m")

    def is_recording() -> bool:
        state = files.read()
        return state is not None and bool(state.recordings) and state.is_recording_settled

    wait_for(is_recording)
    with Load(front) as load:
        front.run("canary", "m", "--version", 2, "--percent", 50)
        wait_for(lambda: {value for _, _, value in load.answers} == {1.0, 2.0})
        promoted = front.run("promote", "m")
        before = load.total
        wait_for(lambda: load.total > before + 20)
    assert promoted["versions"] == {"m": 2}
    assert "the requests of m are already being recorded" in front.run(
        "record", "m", "--to", tmp_path / "other", code=2
    )
    recorder.kill()
    recorder.wait()
    assert is_recording()
    assert front.run("record", "m", "--stop")["was_recording"]
    wait_for(lambda: len(index(folder)) == load.total)

    assert not is_recording()
    answers = Counter({1.0: 0, 2.0: 0})
    for (_, _, value), count in load.answers.items():
        answers[value] += count
    assert Counter(float(str(line["version"])) for line in index(folder)) == answers
    assert {line["protocol"] for line in index(folder)} == {"rest", "grpc"}
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
    rows = run_cli("predict", "--model", "m", "--file", folder, "--format", "recording")
    assert len(rows.stdout.splitlines()) == load.total
