"""Fixtures of the tests of both protocols: a server with an echo and a slow model."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest
from echo_models import write_echo_model
from model_servers import Served, running_server
from scale_models import write_scale_model


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The server, with an echo and a slow model, and room for large messages."""
    base = tmp_path_factory.mktemp("protocols")
    write_echo_model(base / "echo" / "7")
    write_scale_model(base / "slow" / "1", 1.0, matmul_size=5000)
    models = {"echo": base / "echo", "slow": base / "slow"}
    with running_server(models, base, flags=["--max_held_megabytes=1000"]) as running:
        yield running


@pytest.fixture
def channel(server: Served) -> Iterator[grpc.Channel]:
    """A gRPC channel without message limits."""
    limits = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"{server.host}:{server.grpc_port}", options=limits) as channel:
        yield channel
