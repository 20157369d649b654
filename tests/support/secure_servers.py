"""A server that is reached over mutual TLS only, and the PEM files to reach it with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import trustme
from echo_models import write_echo_model
from model_servers import Served, running_flags
from ports import HOST

from tfsctl.clients.connection import ClientTls, Connection, Transport
from tfsctl.clients.factory import open_client
from tfsctl.clients.serving_client import ServingClient
from tfsctl.serving_config import messages


@dataclass(frozen=True)
class Secure:
    """A server that wants certificates of its clients, on ports and a gRPC socket; and PEM files to reach it with."""

    server: Served
    socket: Path
    tls: ClientTls
    stranger: ClientTls

    def client(self, transport: Transport, tls: ClientTls | None, host: str = "localhost") -> ServingClient:
        """A client with these files."""
        port = self.server.rest_port if transport == "rest" else self.server.grpc_port
        return open_client(transport, host, port, timeout_s=60, connection=Connection(tls=tls))

    def options(self, transport: Transport) -> list[object]:
        """The address as options of a command."""
        port = self.server.rest_port if transport == "rest" else self.server.grpc_port
        return [f"--{transport}", "--host", "localhost", "--port", port, "--model", "echo"]


@contextmanager
def secure_server(folder: Path) -> Iterator[Secure]:
    """Run the embedded server with the echo model and mutual TLS for everything, while the block lasts."""
    authority, other = trustme.CA(), trustme.CA()
    leaf = authority.issue_cert("localhost", HOST, "serving.internal")
    config = messages.SSLConfig(
        server_key=leaf.private_key_pem.bytes().decode(),
        server_cert=leaf.cert_chain_pems[0].bytes().decode(),
        custom_ca=authority.cert_pem.bytes().decode(),
        client_verify=True,
    )
    (folder / "ssl.config").write_text(str(config))
    write_echo_model(folder / "echo" / "7")
    flags = ["--model_name=echo", f"--model_base_path={folder / 'echo'}", f"--ssl_config_file={folder / 'ssl.config'}"]
    flags += ["--rest_api_enable_ssl", f"--grpc_socket_path={folder / 'grpc.sock'}"]
    with running_flags(flags, folder) as server:
        tls, stranger = (_files(folder / name, ca) for name, ca in (("client", authority), ("stranger", other)))
        yield Secure(server, folder / "grpc.sock", tls, replace(stranger, ca=tls.ca))


def _files(folder: Path, authority: trustme.CA) -> ClientTls:
    """The authority's certificate and a client's, as PEM files."""
    folder.mkdir()
    leaf = authority.issue_cert("client")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    leaf.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    leaf.private_key_pem.write_to_path(str(folder / "key.pem"))
    return ClientTls(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
