"""Who may change the served models with ReloadConfig (--model_reload)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_requests import raw_call
from model_servers import running_flags
from scale_models import write_scale_model

from tfsctl.core import protos
from tfsctl.server.app import application
from tfsctl.server.config.addresses import is_on_this_machine
from tfsctl.server.grpc import framing
from tfsctl.server.grpc.model_calls import ModelCalls
from tfsctl.server.monitoring.recorder import NullRecorder
from tfsctl.server.status import ServingError

METHOD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"


@pytest.mark.server
@pytest.mark.parametrize(("choice", "code"), [("all", None), ("local", None), ("off", "PERMISSION_DENIED")])
def test_model_reload_decides_whether_local_clients_may_reload(choice: str, code: str | None, tmp_path: Path) -> None:
    """By port and by UNIX socket."""
    write_scale_model(tmp_path / "hot" / "1", 2.0)
    request = protos.ReloadConfigRequest()
    request.config.model_config_list.config.add(
        name="hot", base_path=str(tmp_path / "hot"), model_platform="tensorflow"
    )
    flags = ["--model_name=hot", f"--model_base_path={tmp_path / 'hot'}", f"--model_reload={choice}"]
    with running_flags([*flags, f"--grpc_socket_path={tmp_path / 's'}"], tmp_path) as server:
        for target in (f"{server.host}:{server.grpc_port}", f"unix:{tmp_path / 's'}"):
            with grpc.insecure_channel(target) as channel:
                assert reload_error(channel, request) == code


def reload_error(channel: grpc.Channel, request: protos.ReloadConfigRequest) -> str | None:
    """The status code of a failed reload; None if it succeeds."""
    try:
        raw_call(channel, METHOD)(request.SerializeToString(), timeout=60)
    except grpc.RpcError as error:
        return error.code().name
    return None


class Connection(asyncio.BaseTransport):
    """A connection with these addresses of client and server."""

    def __init__(self, client: object, server: object) -> None:
        super().__init__({"peername": client, "sockname": server})


@pytest.mark.parametrize(
    ("client", "server", "is_local"),
    [
        (("127.0.0.1", 1), ("127.0.0.1", 2), True),
        (("127.0.0.9", 1), ("127.0.0.1", 2), True),
        (("::1", 1, 0, 0), ("::1", 2, 0, 0), True),
        (("::ffff:127.0.0.1", 1, 0, 0), ("::ffff:127.0.0.1", 2, 0, 0), True),
        (("192.0.2.7", 1), ("192.0.2.7", 2), True),
        ("", "/run/grpc.sock", True),
        (("192.0.2.8", 1), ("192.0.2.7", 2), False),
        (("::ffff:192.0.2.8", 1, 0, 0), ("::ffff:192.0.2.7", 2, 0, 0), False),
        (("fe80::1%eth0", 1, 0, 2), ("fe80::2%eth0", 2, 0, 2), False),
        (None, None, False),
        (None, ("192.0.2.7", 2), False),
    ],
)
def test_clients_on_this_machine_are_recognized(client: object, server: object, is_local: bool) -> None:
    """Those at a loopback address, at the machine's own address and at a UNIX socket, but not of unknown address."""
    assert is_on_this_machine(Connection(client, server)) is is_local


@pytest.mark.parametrize("has_logging", [True, False])
def test_a_reload_that_turns_on_logging_is_recognized(has_logging: bool) -> None:
    """It is recognized before it is carried out, because only local clients may do that."""
    request = protos.ReloadConfigRequest()
    entry = request.config.model_config_list.config.add(name="hot", base_path="/m", model_platform="tensorflow")
    if has_logging:
        entry.logging_config.log_collector_config.filename_prefix = "/etc/cron.d/x"
    body = framing.frame(request.SerializeToString())

    assert application.turns_on_logging({b"content-type": b"application/grpc"}, body) is has_logging
    assert not application.turns_on_logging({}, b"\0\0\0\0\2no message")


def test_a_configuration_of_very_many_models_is_refused() -> None:
    """Checking one of a million models would take a gigabyte."""
    service: Any = None  # it is not asked
    request = protos.ReloadConfigRequest()
    request.config.model_config_list.config.extend([protos.ModelConfig(name="m")] * 20_001)
    with pytest.raises(ServingError, match="more than 20000 models"):
        asyncio.run(ModelCalls(service, NullRecorder()).reload(request, None))
