"""--grpc_socket_path: gRPC on a UNIX socket, with and without a port."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from echo_models import echo_model_flags
from grpc_requests import predict_value
from model_servers import Served, failed_start, running_flags
from ports import free_ports
from rest_requests import rest
from waiting import wait_for

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The flags that name the echo model."""
    return echo_model_flags(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def server(model: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Path]]:
    """A server on a socket where another one left its own when it was killed, and the socket's path."""
    folder = tmp_path_factory.mktemp("socket")
    path = folder / "grpc.sock"
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    with running_flags([*model, f"--grpc_socket_path={path}"], folder) as running:
        yield running, path
    assert not path.exists()


def test_grpc_answers_on_the_socket_and_on_the_port(server: tuple[Served, Path]) -> None:
    """The same service answers on both; REST has its own port."""
    running, path = server
    for target in (f"unix:{path}", f"{running.host}:{running.grpc_port}"):
        with grpc.insecure_channel(target) as channel:
            assert predict_value(channel) == 1.5

    assert rest(running, "GET", "/v1/models/echo")[0] == 200


def test_the_socket_serves_no_rest(server: tuple[Served, Path]) -> None:
    """The socket is for gRPC only."""
    _, path = server
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"GET /v1/models/echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 415 ")


def test_a_socket_is_enough(model: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --port and --rest_api_port. Its path may be relative to the server's working directory."""
    monkeypatch.chdir(tmp_path)
    flags = [*model, "--port=0", "--rest_api_port=0", "--grpc_socket_path=here.sock"]
    with (
        running_flags(flags, tmp_path),
        grpc.insecure_channel(f"unix:{tmp_path / 'here.sock'}") as channel,
    ):
        assert predict_value(channel, wait_for_ready=True) == 1.5

    assert not (tmp_path / "here.sock").exists()


def test_a_server_without_grpc_port_and_socket_is_refused(tmp_path: Path, model: list[str]) -> None:
    """In the real server's words, even with a REST port."""
    assert failed_start(tmp_path, *model, "--port=0", f"--rest_api_port={free_ports(1)[0]}").stdout == (
        "Failed to start server. Error: INVALID_ARGUMENT: "
        "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set.\n"
    )


def test_a_socket_in_use_is_taken_over(tmp_path: Path, model: list[str]) -> None:
    """As in TensorFlow Serving. The first server leaves the second one's socket in place, and keeps its connections."""
    path, first, second = tmp_path / "grpc.sock", tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with running_flags([*model, f"--grpc_socket_path={path}"], first):
        with grpc.insecure_channel(f"unix:{path}") as before:
            assert predict_value(before) == 1.5
            with running_flags([*model, f"--grpc_socket_path={path}"], second):
                with grpc.insecure_channel(f"unix:{path}") as channel:
                    assert predict_value(channel) == 1.5
                assert predict_value(before) == 1.5
            assert not path.exists()
        with socket.socket(socket.AF_UNIX) as another:
            another.bind(str(path))
    assert path.exists()


def test_invalid_socket_paths_are_refused(tmp_path: Path, model: list[str]) -> None:
    """Files that are not sockets, a missing folder and a path that is too long are refused, and no file is changed."""
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("kept")
    link.symlink_to("nowhere")
    reasons = {
        file: "a file that is not a socket exists there",
        tmp_path: "a file that is not a socket exists there",
        link: "a symbolic link whose target does not exist is there",
        tmp_path / "no" / "grpc.sock": "its directory does not exist or is not writable",
        tmp_path / ("x" * 100): "the path has more than 107 bytes",
    }
    for path, reason in reasons.items():
        done = failed_start(tmp_path, *model, f"--grpc_socket_path={path}")

        assert done.returncode == 255
        assert done.stdout == "Failed to start server. Error: INVALID_ARGUMENT: Failed to BuildAndStart gRPC server\n"
        assert f"cannot listen on the UNIX socket {path} (--grpc_socket_path): {reason}" in done.stderr
    assert file.read_text() == "kept"
    assert link.is_symlink()


def test_a_file_created_while_the_models_load_is_kept(tmp_path: Path) -> None:
    """The server ends then, and names the socket's path."""
    base, path = tmp_path / "models", tmp_path / "grpc.sock"
    base.mkdir()

    def create() -> None:
        log = tmp_path / "stderr"
        wait_for(lambda: log.exists() and b"No versions of servable" in log.read_bytes())
        path.write_text("kept")
        echo_model_flags(base)

    with ThreadPoolExecutor(1) as pool:
        created = pool.submit(create)
        flags = ["--model_name=echo", f"--model_base_path={base / 'echo'}", f"--grpc_socket_path={path}"]
        (base / "echo").mkdir()
        done = failed_start(tmp_path, *flags)
        created.result()

    assert done.stdout == f"Failed to start server. Error: cannot listen on {path}: Address already in use\n"
    assert path.read_text() == "kept"
