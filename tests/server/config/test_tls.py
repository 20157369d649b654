"""TLS and mutual TLS, from an SSLConfig file, on real sockets."""

from __future__ import annotations

import os
import socket
import ssl
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import trustme
from echo_models import echo_model_flags
from grpc_requests import predict_value
from model_servers import Served, failed_start, running_flags
from rest_requests import rest

from tfsctl.server.config.flags import Flags
from tfsctl.server.config.tls import read_credentials
from tfsctl.serving_config import messages


@dataclass(frozen=True)
class Authority:
    """A certificate authority with a server's and a client's certificate, and the server's SSLConfig."""

    ca: trustme.CA
    server: trustme.LeafCert
    client: trustme.LeafCert

    def config(self, path: Path, *, client_verify: bool) -> Path:
        """Write the SSLConfig of the server."""
        message = messages.SSLConfig(
            server_key=self.server.private_key_pem.bytes().decode(),
            server_cert=self.server.cert_chain_pems[0].bytes().decode(),
            custom_ca=self.ca.cert_pem.bytes().decode() if client_verify else "",
            client_verify=client_verify,
        )
        path.write_text(str(message))
        return path

    def channel(self, target: str, client: trustme.LeafCert | None = None) -> grpc.Channel:
        """A channel over TLS, with a certificate of its own if one is given."""
        key = client.private_key_pem.bytes() if client else None
        chain = client.cert_chain_pems[0].bytes() if client else None
        credentials = grpc.ssl_channel_credentials(self.ca.cert_pem.bytes(), key, chain)
        return grpc.secure_channel(target, credentials, [("grpc.ssl_target_name_override", "localhost")])

    def context(self, client: trustme.LeafCert | None = None) -> ssl.SSLContext:
        """An ssl context for a client of the server."""
        context = ssl.create_default_context(cadata=self.ca.cert_pem.bytes().decode())
        if client:
            client.configure_cert(context)
        return context


@pytest.fixture(scope="module")
def authority() -> Authority:
    """One authority for all tests."""
    ca = trustme.CA()
    return Authority(ca, ca.issue_cert("localhost", "127.0.0.1"), ca.issue_cert("client"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The flags that name the echo model."""
    return echo_model_flags(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def mutual(
    authority: Authority, model: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Served, Path]]:
    """A server with gRPC over mutual TLS on a port and a socket, and REST in plain text; and its folder."""
    folder = tmp_path_factory.mktemp("mutual")
    (folder / "tmp").mkdir()
    config = authority.config(folder / "ssl.config", client_verify=True)
    flags = [*model, f"--ssl_config_file={config}", f"--grpc_socket_path={folder / 'grpc.sock'}"]
    with running_flags(flags, folder, {"TMPDIR": str(folder / "tmp")}) as server:
        yield server, folder
    assert os.listdir(folder / "tmp") == []  # nothing of the server's is left when it has ended


@pytest.fixture(scope="module")
def everywhere(authority: Authority, model: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with both protocols over TLS; clients need no certificate."""
    folder = tmp_path_factory.mktemp("everywhere")
    config = authority.config(folder / "ssl.config", client_verify=False)
    with running_flags([*model, f"--ssl_config_file={config}", "--rest_api_enable_ssl"], folder) as server:
        yield server


@pytest.mark.server
def test_grpc_answers_a_client_with_a_valid_certificate(mutual: tuple[Served, Path], authority: Authority) -> None:
    """On the port and on the UNIX socket."""
    server, folder = mutual
    for target in (f"{server.host}:{server.grpc_port}", f"unix:{folder / 'grpc.sock'}"):
        with authority.channel(target, authority.client) as channel:
            assert predict_value(channel) == 1.5


@pytest.mark.server
def test_clients_with_a_wrong_certificate_are_refused(mutual: tuple[Served, Path], authority: Authority) -> None:
    """Clients without a certificate, with one of another authority, or without TLS get no answer."""
    server, _ = mutual
    target = f"{server.host}:{server.grpc_port}"
    stranger = trustme.CA().issue_cert("client")
    channels = [authority.channel(target), authority.channel(target, stranger), grpc.insecure_channel(target)]
    for channel in channels:
        with channel, pytest.raises(grpc.RpcError) as refused:
            predict_value(channel, timeout=240)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


@pytest.mark.server
def test_rest_is_plain_by_default(mutual: tuple[Served, Path], authority: Authority) -> None:
    """As in the real server, --ssl_config_file is for gRPC only; and the gRPC port serves no REST over TLS."""
    server, _ = mutual
    assert rest(server, "GET", "/v1/models/echo")[0] == 200

    context = authority.context(authority.client)
    status, body, _ = rest(server, "GET", "/v1/models/echo", context=context, port=server.grpc_port)
    assert (status, body) == (415, b"this is the gRPC port: its requests are of type application/grpc\n")


@pytest.mark.server
def test_the_key_is_in_no_command_line_or_file(mutual: tuple[Served, Path]) -> None:
    """Neither the command lines, which every user of the machine can read, nor the server's files hold the key."""
    server, folder = mutual
    assert b"PRIVATE KEY" not in Path(f"/proc/{server.pid}/cmdline").read_bytes()

    files = [path for path in (folder / "tmp").rglob("*") if path.is_file()]
    assert not [path for path in files if b"PRIVATE KEY" in path.read_bytes()]


@pytest.mark.server
def test_rest_api_enable_ssl_serves_rest_over_tls(everywhere: Served, authority: Authority) -> None:
    """With HTTP/1.1 and the same certificate."""
    with authority.channel(f"{everywhere.host}:{everywhere.grpc_port}") as channel:
        assert predict_value(channel) == 1.5

    body = b'{"instances": [1.5]}'
    status, answer, _ = rest(everywhere, "POST", "/v1/models/echo:predict", body, context=authority.context())
    assert (status, answer) == (200, b'{\n    "predictions": [1.5\n    ]\n}')


@pytest.mark.server
def test_a_tls_port_refuses_plain_text(everywhere: Served) -> None:
    """It does not even send an error in plain text."""
    with socket.create_connection((everywhere.host, everywhere.rest_port)) as connection:
        connection.sendall(b"GET /v1/models/echo HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP" not in connection.recv(1000)


@pytest.mark.server
@pytest.mark.parametrize(
    ("config", "message", "logged"),
    [
        (None, "NOT_FOUND: {file}; No such file or directory", ""),
        ("server_key: 5", "INVALID_ARGUMENT: Invalid protobuf file: '{file}'", "server_key"),
        (
            'server_key: "no key" server_cert: "no certificate"',
            "INVALID_ARGUMENT: Failed to BuildAndStart gRPC server",
            "{file}: the key and certificates are not usable",
        ),
    ],
)
def test_invalid_credentials_end_the_start(
    tmp_path: Path, model: list[str], config: str | None, message: str, logged: str
) -> None:
    """In the real server's words, with the reason in the log."""
    file = tmp_path / "ssl.config"
    if config is not None:
        file.write_text(config)
    ended = failed_start(tmp_path, *model, f"--ssl_config_file={file}")

    assert (ended.returncode, ended.stdout) == (255, f"Failed to start server. Error: {message.format(file=file)}\n")
    assert logged.format(file=file) in ended.stderr


@pytest.mark.server
def test_a_key_of_another_certificate_ends_the_start(tmp_path: Path, model: list[str], authority: Authority) -> None:
    """It is detected at the start, not by the first client."""
    other = Authority(authority.ca, authority.client, authority.client)
    text = authority.config(tmp_path / "a", client_verify=False).read_text().splitlines()[1:]
    key = other.config(tmp_path / "b", client_verify=False).read_text().splitlines()[:1]
    (tmp_path / "ssl.config").write_text("\n".join(key + text))
    ended = failed_start(tmp_path, *model, f"--ssl_config_file={tmp_path / 'ssl.config'}")

    assert (ended.returncode, ended.stdout) == (
        255,
        "Failed to start server. Error: INVALID_ARGUMENT: Failed to BuildAndStart gRPC server\n",
    )
    assert "KEY_VALUES_MISMATCH" in ended.stderr


@pytest.mark.server
def test_rest_over_tls_needs_a_certificate(tmp_path: Path, model: list[str]) -> None:
    """--rest_api_enable_ssl alone names no certificate."""
    ended = failed_start(tmp_path, *model, "--rest_api_enable_ssl")

    assert ended.returncode == 255
    assert "--rest_api_enable_ssl needs --ssl_config_file" in ended.stdout


def test_credentials_do_not_print_their_key(authority: Authority, tmp_path: Path) -> None:
    """A log line with them in it does not reveal it."""
    made = read_credentials(Flags(ssl_config_file=str(authority.config(tmp_path / "ssl.config", client_verify=False))))

    assert made is not None
    assert "PRIVATE KEY" in made.key
    assert "PRIVATE KEY" not in repr(made)


@pytest.mark.skipif(sys.platform != "linux", reason="files without a disk are Linux's")
def test_the_key_is_not_written_to_disk(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a full or read-only disk does not prevent the start, and no copy of the key remains."""
    made = read_credentials(Flags(ssl_config_file=str(authority.config(tmp_path / "ssl.config", client_verify=False))))
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")

    assert made is not None
    assert made.ssl_context().get_ca_certs() == []
