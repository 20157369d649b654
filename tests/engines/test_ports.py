"""Ports and addresses: taken ports, free ports, host names."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest

from tfsctl.engines import ports
from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.errors import InvalidInput
from tfsctl.serving_config.model_config import ModelConfig
from tfsctl.serving_config.serving_config import ServingConfig


def test_a_port_with_a_listener_is_taken() -> None:
    """Also for a server that listens on all addresses. The port of a closed listener is free at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        assert ports.is_taken("127.0.0.1", taken)
        assert ports.is_taken("0.0.0.0", taken)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", free)):
            listener.accept()[0].close()
    assert not ports.is_taken("127.0.0.1", free)


def test_an_address_of_another_machine_is_refused() -> None:
    """No server can listen on it."""
    with pytest.raises(InvalidInput, match=r"^this machine does not have the address 192\.0\.2\.1$"):
        ports.is_taken("192.0.2.1", 0)
    with pytest.raises(InvalidInput, match=r"^this machine does not have the address 192\.0\.2\.1$"):
        ports.free_ports("192.0.2.1")


def test_a_host_name_is_resolved() -> None:
    """Servers and Docker need an IP address. IPv4 is preferred, as clients try it first."""
    assert [ports.resolve_host(host) for host in ("localhost", "127.0.0.1", "::1", "[::1]", "0.0.0.0")] == [
        *("127.0.0.1", "127.0.0.1", "::1", "::1", "0.0.0.0")
    ]
    with pytest.raises(InvalidInput, match=r"^unknown host 'no such host': "):
        ports.resolve_host("no such host")


def test_zero_becomes_a_free_port() -> None:
    """Two different ports; ports other than 0 stay."""
    config = ServingConfig((ModelConfig("m", "/m"),), grpc_port=0, rest_port=0)
    spec = ports.with_free_ports(LaunchSpec("m", config, "127.0.0.1"))
    chosen = spec.config

    assert 0 not in (chosen.rest_port, chosen.grpc_port)
    assert chosen.rest_port != chosen.grpc_port
    assert not ports.is_taken("127.0.0.1", chosen.rest_port)
    assert ports.with_free_ports(spec) == spec
    one_fixed = replace(spec, config=replace(chosen, grpc_port=0))
    assert ports.with_free_ports(one_fixed).config.rest_port == chosen.rest_port


def test_ports_of_servers_are_not_those_of_connections() -> None:
    """A connection to another server may take a port that no server listens on yet."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        lowest_of_clients = min(listener.getsockname()[1], client.getsockname()[1])

    if lowest_of_clients >= 32_768:  # the default of Linux
        assert all(port < 32_768 for _ in range(20) for port in ports.free_ports("127.0.0.1"))
