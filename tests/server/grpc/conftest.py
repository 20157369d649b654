"""Fixtures of the tests of gRPC: a server of the echo model with the health service, and a channel to it."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from echo_models import echo_model_flags
from model_servers import Served, running_flags


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with the health service."""
    folder = tmp_path_factory.mktemp("health")
    with running_flags([*echo_model_flags(folder), "--enable_grpc_healthcheck_service"], folder) as running:
        yield running


@pytest.fixture
def channel(server: Served) -> Iterator[grpc.Channel]:
    """A channel to the server."""
    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}") as channel:
        yield channel
