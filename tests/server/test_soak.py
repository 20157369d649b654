"""The short form of `benchmarks/soak.py`: full load, new versions, floods and slow clients."""

from __future__ import annotations

import shutil
from argparse import Namespace
from pathlib import Path

import pytest
from soak import soak

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(not (shutil.which("wrk") and shutil.which("h2load")), reason="needs wrk and h2load"),
]


@pytest.mark.long
def test_no_good_request_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Memory is not measured: on a busy machine, the last attacks are still being answered then."""
    times = {"minute_seconds": 3.0, "swap_every": 1.5}
    options = Namespace(minutes=2, **times, model=None, connections=8, memory=False)
    failures, _ = soak(options, tmp_path)

    assert failures == []
    assert "minute 2" in capsys.readouterr().out
