"""Fixtures of the tests of commands: stop servers that a command left running."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tfsctl.engines.planning import server_control
from tfsctl.engines.registry import fleet


@pytest.fixture
def _nothing_is_left(_isolated: None) -> Iterator[None]:
    """Stop the servers that a test left running."""
    yield
    for each in fleet.servers():
        server_control.stop(each.record)
