"""A server hands its ports over to another process, and no request is lost."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
from mixed_load import MixedLoad
from model_servers import STOP_S, ServerProcess, clean_environment, start_server
from ports import HOST, free_ports, wait_until_listening
from scale_models import write_scale_model

from tfsctl.programs import port_handover


@contextmanager
def serving(base: Path, ports: list[int], folder: Path, **variables: str) -> Iterator[ServerProcess]:
    """A server of the model `m`, which is stopped at the end of the block."""
    folder.mkdir()
    grpc_port, rest_port = ports
    argv = [f"--host={HOST}", f"--port={grpc_port}", f"--rest_api_port={rest_port}"]
    argv += ["--model_name=m", f"--model_base_path={base}"]
    log = folder / "server.log"
    with log.open("wb") as output:
        process = start_server(argv, clean_environment(folder) | variables, output, output)
    try:
        wait_until_listening(process, ports, log)
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.mark.long
@pytest.mark.server
def test_no_request_is_lost_in_a_handover(tmp_path: Path) -> None:
    """Two handovers in a row, under load. Idle connections are closed too."""
    for version in (1, 2, 3):
        write_scale_model(tmp_path / f"m{version}" / "1", float(version))
    ports = free_ports(2)
    joining = {port_handover.VARIABLE: "1"}
    with ExitStack() as stack:
        old = stack.enter_context(serving(tmp_path / "m1", ports, tmp_path / "1"))
        idle = stack.enter_context(closing(HTTPConnection(HOST, ports[1], timeout=STOP_S)))
        idle.request("GET", "/v1/models/m")
        assert idle.getresponse().read()
        silent = stack.enter_context(closing(socket.create_connection((HOST, ports[0]), timeout=STOP_S)))
        with MixedLoad(ports[1], ports[0], "m") as load:
            for version in (2, 3):
                assert port_handover.can_hand_over(old.pid)
                old.send_signal(port_handover.SIGNAL)
                new = stack.enter_context(serving(tmp_path / f"m{version}", ports, tmp_path / str(version), **joining))
                assert old.wait(STOP_S) == 0
                load.wait_for_more()
                old = new
        assert load.lost == []
        assert load.values() == {1.0, 2.0, 3.0}
        assert idle.sock is not None
        assert (idle.sock.recv(1), silent.recv(1)) == (b"", b"")
        old.send_signal(signal.SIGTERM)
        assert old.wait(STOP_S) == 0


@pytest.mark.server
def test_a_server_can_be_stopped_while_it_waits_for_its_successor(tmp_path: Path) -> None:
    """It serves until another process listens on its ports."""
    write_scale_model(tmp_path / "m" / "1", 1.0)
    ports = free_ports(2)
    with serving(tmp_path / "m", ports, tmp_path / "1") as server:
        assert not port_handover.can_join(HOST, ports[0])
        server.send_signal(port_handover.SIGNAL)
        with MixedLoad(ports[1], ports[0], "m") as load:
            load.wait_for_more()
        server.send_signal(signal.SIGTERM)
        assert server.wait(STOP_S) == 0
    assert load.lost == []


def test_new_connections_go_to_the_newer_socket() -> None:
    """Only after `share`. If one socket is closed, the other one gets all connections."""
    with socket.socket() as older, socket.socket() as newer:
        older.bind((HOST, 0))
        older.listen()
        address = older.getsockname()
        assert not port_handover.can_join(*address)
        port_handover.share(older)
        assert not port_handover.prefer_newer(older)
        assert port_handover.can_join(*address)
        port_handover.share(newer)
        newer.bind(address)
        newer.listen()
        assert port_handover.prefer_newer(older)
        for _ in range(20):
            socket.create_connection(address).close()
            newer.accept()[0].close()
        older.close()
        socket.create_connection(address).close()
        newer.accept()[0].close()


def test_programs_that_do_not_expect_the_signal_are_recognized() -> None:
    """The signal would end them."""
    assert not port_handover.can_hand_over(os.getpid())
    assert not port_handover.can_hand_over(2**22 + 1)
