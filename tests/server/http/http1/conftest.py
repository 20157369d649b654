"""Fixtures of the tests of HTTP/1.1."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from http1_client import Client, connected
from model_servers import Served


@pytest.fixture
def client(server: Served) -> Iterator[Client]:
    """A client of the REST port."""
    with connected(server.rest_port) as one:
        yield one
