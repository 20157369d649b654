"""Fixtures of the tests of the REPL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from model_servers import Served
from repl_targets import target_of

from tfsctl.cli.repl.repl_session import ReplSession


@pytest.fixture
def session(served: Served) -> Iterator[ReplSession]:
    """A conversation with the echo model, as through a pipe."""
    with ReplSession(
        target_of(served, "echo"), find_labels=lambda: {"echo": ("stable", "canary"), "other": ()}
    ) as opened:
        yield opened
