"""Fixtures of the tests of HTTP: a server with the echo model, and HTTP/2 clients of its ports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from echo_models import echo_model_flags
from http2_client import Client, connected
from model_servers import Served, running_flags


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The server with the echo model."""
    folder = tmp_path_factory.mktemp("server")
    with running_flags(echo_model_flags(folder), folder) as running:
        yield running
    assert "Traceback" not in (folder / "server.log").read_text()  # no client can cause an error of the server itself


@pytest.fixture
def client(server: Served) -> Iterator[Client]:
    """A client of the gRPC port."""
    with connected(server.grpc_port) as one:
        yield one


@pytest.fixture
def rest_client(server: Served) -> Iterator[Client]:
    """A client of the REST port."""
    with connected(server.rest_port) as one:
        yield one
