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
    """Memory is only printed: on a busy machine, the last attacks are still being answered when it is measured."""
    times = {"minute_seconds": 4.0, "swap_every": 2.0}
    options = Namespace(minutes=2, **times, model=None, connections=8)
    failures, _ = soak(options, tmp_path)

    assert failures == []
    assert "minute 2" in capsys.readouterr().out
