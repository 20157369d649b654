"""Which server and model a command talks to."""

from __future__ import annotations

import socket
from dataclasses import replace

import pytest
from ports import HOST, free_ports

from tfsctl.cli.options import target as target_module
from tfsctl.cli.options.server_options import ServerOptions
from tfsctl.cli.options.target import Target, find_target
from tfsctl.core.types import ModelRef
from tfsctl.engines.registry import records
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import InvalidInput, NotFound


def running(*models: str, host: str = "127.0.0.1", rest_port: int = 9501, grpc_port: int = 9500) -> ServerRecord:
    """A server tfsctl started."""
    return ServerRecord("+".join(models), "embedded", host, rest_port, grpc_port, models, 1, None, 0.0, None)


def target(model: str, host: str, rest_port: int, grpc_port: int) -> Target:
    """What should be found."""
    return Target(ModelRef(model), host, rest_port, grpc_port, "rest")


HERE = running("m")
OTHER = running("n", "o", rest_port=9601, grpc_port=9600)


@pytest.mark.parametrize(
    ("options", "servers", "expected"),
    [
        (ServerOptions(), [HERE], target("m", "127.0.0.1", 9501, 9500)),
        (ServerOptions(model="m"), [HERE, OTHER], target("m", "127.0.0.1", 9501, 9500)),
        (ServerOptions(model="o"), [HERE, OTHER], target("o", "127.0.0.1", 9601, 9600)),
        (ServerOptions(model="x"), [], target("x", "localhost", 8501, 8500)),
        (ServerOptions(port=9501), [HERE, OTHER], target("m", "127.0.0.1", 9501, 9500)),
        (ServerOptions(model="o", port=9601), [HERE, OTHER], target("o", "127.0.0.1", 9601, 9600)),
        (ServerOptions(model="x", port=1234), [HERE], target("x", "localhost", 1234, 8500)),
        (ServerOptions(model="x", host="far"), [HERE], target("x", "far", 8501, 8500)),
        (ServerOptions(model="x", host="far", port=9501), [HERE], target("x", "far", 9501, 8500)),
        (ServerOptions(host="localhost", port=9501), [HERE], target("m", "localhost", 9501, 9500)),
    ],
)
def test_options_and_running_servers_select_the_target(
    options: ServerOptions, servers: list[ServerRecord], expected: Target
) -> None:
    """One running server needs no option; an address or a model selects one; the default ports come last."""
    found = find_target(options, servers)
    names = {server.rest_port: server.name for server in servers if found.host != "far"}
    assert (found, found.server) == (expected, names.get(found.rest_port))


def test_hint_for_a_misspelt_model_argument() -> None:
    """A positional argument has no option to name."""
    with pytest.raises(NotFound) as caught:
        find_target(ServerOptions().with_model("mm"), [HERE])
    assert caught.value.hint == "did you mean m?"


def test_port_option_is_for_the_chosen_transport() -> None:
    """--port is the REST port, or the gRPC port with --grpc."""
    found = find_target(ServerOptions(model="x", port=1234, transport="grpc"), [])
    assert (found.rest_port, found.grpc_port, found.transport) == (8501, 1234, "grpc")
    assert find_target(ServerOptions(port=9500, transport="grpc"), [HERE]).model == ModelRef("m")


def test_version_label_and_timeout_are_kept() -> None:
    """These options are part of the target."""
    assert find_target(ServerOptions(version=3), [HERE]).model == ModelRef("m", version=3)
    assert find_target(ServerOptions(label="stable"), [HERE]).model == ModelRef("m", label="stable")
    assert find_target(ServerOptions(timeout_s=2.0), [HERE]).timeout_s == 2.0


@pytest.mark.parametrize(
    ("options", "servers", "error", "message", "hint"),
    [
        (
            ServerOptions(),
            [],
            NotFound,
            "no server started by tfsctl is running",
            "start one with tfsctl serve PATH; --model NAME --port PORT uses another server",
        ),
        (
            ServerOptions(),
            [HERE, OTHER],
            InvalidInput,
            "several servers match: m (REST 9501, gRPC 9500), n+o (REST 9601, gRPC 9600)",
            "choose one with --server NAME, for example --server m",
        ),
        (ServerOptions(), [OTHER], InvalidInput, "n+o serves several models: n, o", "choose one with --model NAME"),
        (
            ServerOptions(model="mm"),
            [HERE],
            NotFound,
            "no running server serves 'mm'; running: m (REST 9501, gRPC 9500)",
            "did you mean --model m?",
        ),
        (
            ServerOptions(model="other"),
            [HERE],
            NotFound,
            "no running server serves 'other'; running: m (REST 9501, gRPC 9500)",
            "--model m is served; --port PORT queries a server that tfsctl did not start",
        ),
        (
            ServerOptions(port=1234),
            [HERE],
            InvalidInput,
            "the model at localhost:1234 is not named",
            "add --model NAME",
        ),
        (
            ServerOptions(version=1, label="l"),
            [HERE],
            InvalidInput,
            "--version and --label cannot be used together",
            "remove one of them",
        ),
    ],
)
def test_ambiguous_or_unknown_targets_are_explained(
    options: ServerOptions, servers: list[ServerRecord], error: type[Exception], message: str, hint: str
) -> None:
    """No server, several servers, or none with that model: the message lists the servers, the hint says what to type."""
    with pytest.raises(error) as caught:
        find_target(options, servers)
    assert (getattr(caught.value, "message", ""), getattr(caught.value, "hint", "")) == (message, hint)


def test_missing_port_names_the_other_transport() -> None:
    """A server may run without one of its ports."""
    found = find_target(ServerOptions(), [running("m", rest_port=0)])
    with pytest.raises(InvalidInput, match="the server of m has no rest port") as caught:
        found.connect()
    assert caught.value.hint == "use --grpc"
    with found.over("grpc").connect() as client:
        assert (client.transport, client.address) == ("grpc", "127.0.0.1:9500")


def test_a_model_whose_server_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the server. Another server at the default port is still found."""
    [port] = free_ports(1)
    monkeypatch.setattr(target_module, "DEFAULT_REST_PORT", port)
    records.register(replace(HERE, name="shop", pid=2**22 + 1))  # above the largest PID of Linux
    with pytest.raises(NotFound) as caught:
        find_target(ServerOptions(model="m"), [])
    assert caught.value.message == "no running server serves 'm': shop has ended"
    assert caught.value.hint == "tfsctl restart shop"
    assert find_target(ServerOptions(model="x"), []) == target("x", "localhost", port, 8500)
    with socket.create_server((HOST, port)):
        assert find_target(ServerOptions(model="m"), []) == target("m", "localhost", port, 8500)
