"""Versions that are added and removed while the server runs pass through the recorded states."""

from __future__ import annotations

import ast
import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from locations import RECORDED
from model_servers import Served, running_server
from recorded_cases import MODELS

pytestmark = pytest.mark.server

View = tuple[tuple[tuple[str, str], ...], object]  # the states, highest version first; the answer to a predict
SETTLE_S = 240.0
PUBLISHED = "publish 2"


def recorded_steps() -> dict[str, list[View]]:
    """The recorded views after each change, by its name; the first change adds version 2."""
    steps: dict[str, list[View]] = {}
    changed = PUBLISHED
    for line in (RECORDED / "hotswap.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith(("start", "+")):
            changed = line
        elif line.startswith("+"):
            states, answer = ast.literal_eval(line.partition(" ")[2])
            steps.setdefault(changed, []).append((tuple(states), _comparable(answer)))
    return steps


def _comparable(answer: object) -> object:
    """A predict's values, or its error as status and message."""
    if not isinstance(answer, tuple):
        return answer
    status, body = answer
    return status, json.loads(body)["error"]


@pytest.fixture
def hot(tmp_path: Path) -> Path:
    """A base directory with version 1, whose answer is 1.0."""
    shutil.copytree(MODELS / "versions" / "1", tmp_path / "hot" / "1")
    return tmp_path / "hot"


@pytest.fixture
def server(hot: Path, tmp_path: Path) -> Iterator[Served]:
    """A server of that model."""
    with running_server({"hot": hot}, tmp_path) as running:
        yield running


def view(server: Served) -> View:
    """The states and a predict's answer, at a moment when both belong together."""
    before = _states(server)
    while True:
        answer = _answer(server)
        after = _states(server)
        if before == after:
            return after, answer
        before = after


def _states(server: Served) -> tuple[tuple[str, str], ...]:
    with urllib.request.urlopen(_url(server), timeout=240) as response:
        return tuple((entry["version"], entry["state"]) for entry in json.load(response)["model_version_status"])


def _answer(server: Served) -> object:
    request = urllib.request.Request(f"{_url(server)}:predict", data=b'{"instances": [1.0]}')
    try:
        with urllib.request.urlopen(request, timeout=240) as response:
            return json.load(response)["predictions"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)["error"]


def _url(server: Served) -> str:
    return f"http://{server.host}:{server.rest_port}/v1/models/hot"


def test_only_recorded_states_are_seen_while_versions_change(server: Served, hot: Path) -> None:
    """A new version, its removal, the removal of the last version, and an empty folder."""
    changes: dict[str, Callable[[], object]] = {
        PUBLISHED: lambda: shutil.copytree(MODELS / "versions" / "2", hot / "2"),
        "removed newest version 2": lambda: shutil.rmtree(hot / "2"),
        "removed last version dir": lambda: shutil.rmtree(hot / "1"),
        "version dir 7 empty (no saved_model.pb)": (hot / "7").mkdir,
    }
    steps = recorded_steps()
    assert list(changes) == list(steps)
    for changed, change in changes.items():
        recorded = steps[changed]
        change()
        seen = _watch(server, recorded[-1])
        known = [recorded.index(one) for one in seen if one in recorded]
        assert (seen[-1], known) == (recorded[-1], sorted(known)), (changed, seen)
        assert {str(answer) for _, answer in seen} <= {str(answer) for _, answer in recorded}, (changed, seen)
        assert all(one in recorded or _is_passing(one) for one in seen), (changed, seen)


def _is_passing(one: View) -> bool:
    """Whether a version is between two states that last: the recording looked only eight times a second."""
    return any(state in ("START", "LOADING", "UNLOADING") for _, state in one[0])


def _watch(server: Served, last: View) -> list[View]:
    """The views until the last recorded one appears, without repetitions."""
    seen = [view(server)]
    deadline_s = time.monotonic() + SETTLE_S
    while seen[-1] != last and time.monotonic() < deadline_s:
        now = view(server)
        if now != seen[-1]:
            seen.append(now)
    return seen
