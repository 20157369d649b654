"""How a server is reached: TLS, sockets, proxies, gateways, headers, limits; over both transports."""

from __future__ import annotations

import gc
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from cli_runner import RunCli
from gateways import running_gateway, running_proxy
from model_servers import Served, clean_environment
from ports import HOST
from secure_servers import Secure, secure_server
from waiting import PATIENCE_S, wait_for

from tfsctl.clients.connection import ClientTls, Connection, Header, Transport
from tfsctl.clients.factory import open_client
from tfsctl.core import protos
from tfsctl.core.types import ModelRef, VersionStatus
from tfsctl.errors import InvalidInput, NotFound, NotReadyInTime, RequestRejected, ServerUnreachable

ECHO = ModelRef("echo")
AVAILABLE = (VersionStatus(7, "AVAILABLE"),)
BOTH = pytest.mark.parametrize("transport", ["rest", "grpc"])


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """A server with mutual TLS for REST and gRPC."""
    with secure_server(tmp_path_factory.mktemp("secure")) as server:
        yield server


@pytest.mark.server
@BOTH
@pytest.mark.parametrize("host", ["localhost", HOST])
def test_a_server_with_mutual_tls_is_reached_with_a_client_certificate(
    secure: Secure, transport: Transport, host: str
) -> None:
    """With the authority, a certificate and its key the server is reached, by name and by address."""
    with secure.client(transport, secure.tls, host) as client:
        assert client.status(ECHO) == AVAILABLE


@pytest.mark.server
@BOTH
def test_one_file_may_hold_certificate_and_key(secure: Secure, transport: Transport, tmp_path: Path) -> None:
    """As curl and nginx take them."""
    assert secure.tls.cert
    assert secure.tls.key
    both = tmp_path / "both.pem"
    both.write_bytes(secure.tls.cert.read_bytes() + secure.tls.key.read_bytes())
    with secure.client(transport, ClientTls(secure.tls.ca, both)) as client:
        assert client.status(ECHO) == AVAILABLE


@pytest.mark.server
@BOTH
def test_commands_take_the_files(secure: Secure, run_cli: RunCli, transport: Transport) -> None:
    """--ca, --cert and --key are options of every command that asks a server, and mean TLS."""
    files = ["--ca", secure.tls.ca, "--cert", secure.tls.cert, "--key", secure.tls.key]
    result = run_cli("predict", *secure.options(transport), *files, "1.5")
    assert (result.stdout, result.stderr, result.code) == ("1.5\n", "", 0)


@pytest.mark.server
@BOTH
def test_an_unknown_authority_is_explained(secure: Secure, run_cli: RunCli, transport: Transport) -> None:
    """Without --ca, the system's authorities are trusted, and this server's is not among them."""
    result = run_cli("metadata", *secure.options(transport), "--tls")
    assert (result.stdout, result.code) == ("", 3)
    assert (
        "cause: the server's certificate was signed by an authority that this machine does not trust\n" in result.stderr
    )
    assert "hint: --ca FILE trusts that authority's certificate\n" in result.stderr


@pytest.mark.server
@BOTH
def test_a_failed_handshake_is_reported_once(secure: Secure, tmp_path: Path, transport: Transport) -> None:
    """The log lines of gRPC stay out of stderr."""
    argv = [sys.executable, "-m", "tfsctl", "metadata", *map(str, secure.options(transport)), "--tls"]
    result = subprocess.run(argv, env=clean_environment(tmp_path), capture_output=True, text=True, check=False)
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["error", "cause", "hint"]


@pytest.mark.server
@BOTH
def test_without_a_known_client_certificate_nobody_answers(secure: Secure, transport: Transport) -> None:
    """The server does not answer without a certificate, or with one of another authority."""
    for tls in (ClientTls(secure.tls.ca), secure.stranger):
        with secure.client(transport, tls) as client, pytest.raises(ServerUnreachable):
            client.status(ECHO)


@BOTH
def test_tls_to_a_plain_port_is_explained(served: Served, run_cli: RunCli, transport: Transport) -> None:
    """TLS to a server without it, and no TLS to a server with it."""
    port = served.rest_port if transport == "rest" else served.grpc_port
    result = run_cli("metadata", f"--{transport}", "--host", HOST, "--port", port, "--model", "echo", "--tls")
    assert result.code == 3
    assert "hint: remove --tls (in a URL write http://)\n" in result.stderr


@pytest.mark.server
@BOTH
def test_plain_connection_to_a_tls_port(secure: Secure, transport: Transport) -> None:
    """The server does not answer a plain request; the hint names the option."""
    with secure.client(transport, None) as client, pytest.raises(ServerUnreachable) as caught:
        client.status(ECHO)
    assert "--tls" in caught.value.hint


@pytest.mark.server
@BOTH
def test_invalid_pem_files_are_refused_before_anything_is_sent(
    secure: Secure, transport: Transport, tmp_path: Path
) -> None:
    """A missing file, and one that is not a PEM file, are errors before anything is sent."""
    (tmp_path / "no.pem").write_text("nothing")
    with pytest.raises(NotFound, match=r"cannot read .*gone\.pem: No such file"):
        secure.client(transport, ClientTls(tmp_path / "gone.pem"))
    with pytest.raises(InvalidInput, match=r"not valid PEM files for TLS: .*no\.pem"):
        secure.client(transport, ClientTls(secure.tls.ca, tmp_path / "no.pem"))


@pytest.mark.server
@BOTH
def test_a_key_that_cannot_be_used_is_explained(secure: Secure, transport: Transport, tmp_path: Path) -> None:
    """An encrypted key, because tfsctl does not ask for passwords, and a missing key."""
    from cryptography.hazmat.primitives import serialization as pem

    assert secure.tls.key
    key = pem.load_pem_private_key(secure.tls.key.read_bytes(), None)
    locked = tmp_path / "locked.pem"
    locked.write_bytes(
        key.private_bytes(pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.BestAvailableEncryption(b"s3cret"))
    )
    with pytest.raises(InvalidInput, match="the key is encrypted, and tfsctl does not ask for passwords"):
        secure.client(transport, replace(secure.tls, key=locked))
    with pytest.raises(InvalidInput) as caught:
        secure.client(transport, replace(secure.tls, key=None))
    assert caught.value.hint == "if the key is in another file, add --key FILE"


@pytest.mark.server
def test_a_unix_socket_over_tls(secure: Secure) -> None:
    """Over gRPC through the server's socket, with the certificate of localhost."""
    client = open_client("grpc", f"unix:{secure.socket}", 0, timeout_s=240, connection=Connection(tls=secure.tls))
    with client:
        assert client.status(ECHO) == AVAILABLE
        assert client.address == f"unix:{secure.socket}"


def pass_on(source: socket.socket, sink: socket.socket) -> None:
    """Forward all data, and the end of the data."""
    while chunk := source.recv(65536):
        sink.sendall(chunk)
    with suppress(OSError):  # gone already
        sink.shutdown(socket.SHUT_WR)


@contextmanager
def rest_socket(served: Served, path: Path) -> Iterator[None]:
    """A UNIX socket that leads to the REST port, for one connection."""
    with ThreadPoolExecutor(3) as threads, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            client, _ = listener.accept()
            with client, socket.create_connection((served.host, served.rest_port)) as server:
                upward = threads.submit(pass_on, client, server)
                pass_on(server, client)
                upward.result()

        done = threads.submit(serve)
        yield
        done.result(timeout=240)


def test_rest_over_a_unix_socket(served: Served, run_cli: RunCli, tmp_path: Path) -> None:
    """A REST port behind a socket, as sidecars offer it."""
    path = tmp_path / "rest.sock"
    with rest_socket(served, path):
        result = run_cli("metadata", "--host", f"unix:{path}", "--model", "echo", "--signature", "any")
    assert (result.code, result.stderr) == (0, "")
    assert f"address: unix:{path}\n" in result.stdout


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # httpcore leaves a socket to the collector
def test_a_socket_that_is_not_there_is_named(run_cli: RunCli, tmp_path: Path) -> None:
    """The path is part of the error."""
    result = run_cli("metadata", "--host", f"unix:{tmp_path}/none", "--model", "echo")
    gc.collect()
    assert result.code == 3
    assert result.stderr.startswith(f"error: no answer from unix:{tmp_path}/none: No such file or directory\n")


@BOTH
def test_an_http_proxy_is_used_even_to_this_machine(served: Served, run_cli: RunCli, transport: Transport) -> None:
    """--proxy is used even for this machine: a proxied request for REST, a tunnel for gRPC."""
    port = served.rest_port if transport == "rest" else served.grpc_port
    with running_proxy() as proxy:
        address = [f"--{transport}", "--host", HOST, "--port", port, "--model", "echo"]
        result = run_cli("predict", *address, "--proxy", proxy.url, "1.5")
    assert (result.stdout, result.code) == ("1.5\n", 0)
    expected = {"rest": f"GET http://{HOST}:{port}/v1/models/echo/metadata HTTP/1.1", "grpc": f"CONNECT {HOST}:{port} "}
    assert proxy.requests[0].startswith(expected[transport])


@BOTH
def test_a_proxy_that_is_not_there(served: Served, run_cli: RunCli, transport: Transport) -> None:
    """The error names it, without its password."""
    port = served.rest_port if transport == "rest" else served.grpc_port
    address = [f"--{transport}", "--host", HOST, "--port", port, "--model", "echo"]
    result = run_cli("predict", *address, "--proxy", "http://me:s3cret@127.0.0.1:9", "1.5")
    assert result.code == 3
    assert result.stderr.startswith(
        f"error: no answer from {HOST}:{port} through the proxy 127.0.0.1:9: Connection refused\n"
    )
    assert "s3cret" not in result.stderr


def test_a_proxy_of_the_environment_that_cannot_be_used(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    """For example SOCKS: the error explains it, without the password."""
    monkeypatch.setenv("ALL_PROXY", "socks5://me:s3cret@127.0.0.1:9")
    result = run_cli("metadata", "--host", "serving.invalid", "--model", "echo")
    assert result.code == 2
    assert result.stderr.startswith("error: the environment names a proxy that cannot be used\n")
    assert "s3cret" not in result.stderr


@BOTH
def test_compressed_requests_are_smaller_and_understood(served: Served, transport: Transport) -> None:
    """The compressed request is much smaller, and is answered."""
    port = served.rest_port if transport == "rest" else served.grpc_port
    large = np.zeros(200_000, np.float32)
    sent = []
    for compression in (None, "gzip"):
        with running_proxy() as proxy:
            connection = Connection(proxy=proxy.url, compression="gzip" if compression else None)
            with open_client(transport, HOST, port, connection=connection) as client:
                assert client.predict(ECHO, {"x": large}).outputs["x"].shape == (200_000,)
        sent.append(proxy.bytes_up)
    assert sent[0] > 790_000
    assert sent[1] < sent[0] / 20


def test_keepalive_of_idle_connections(served: Served) -> None:
    """REST: one connection for both requests, or one for each. gRPC: pings while the connection is idle."""
    for keepalive_s, connections in ((3600.0, 1), (0.05, 2)):
        with running_proxy() as proxy:
            connection = Connection(proxy=proxy.url, keepalive_s=keepalive_s)
            with open_client("rest", HOST, served.rest_port, connection=connection) as client:
                client.status(ECHO)
                time.sleep(0.2)  # longer than the shorter keepalive
                client.status(ECHO)
        assert len(proxy.requests) == connections
    with ExitStack() as stack:
        quiet, pinging = (stack.enter_context(running_proxy()) for _ in range(2))
        for proxy, keepalive_s in ((quiet, 3600.0), (pinging, 0.1)):
            connection = Connection(proxy=proxy.url, keepalive_s=keepalive_s)
            client = stack.enter_context(open_client("grpc", HOST, served.grpc_port, connection=connection))
            client.status(ECHO)
        before = pinging.bytes_up
        wait_for(lambda: pinging.bytes_up > before)  # what follows the answer
        before_quiet, before = quiet.bytes_up, pinging.bytes_up
        wait_for(lambda: pinging.bytes_up > before)  # a ping: gRPC sends one a second at most
        assert quiet.bytes_up == before_quiet


def test_a_gateway_with_a_path_and_a_token(served: Served, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    """--url has host, port and path; the token is from a variable, and is never printed."""
    monkeypatch.setenv("TOKEN", "s3cret")
    with running_gateway(served.rest_port, path="/models", authorization="Bearer s3cret") as port:
        url = ["--url", f"http://{HOST}:{port}/models/"]
        right = run_cli("predict", *url, "--model", "echo", "--header-env", "authorization=Bearer TOKEN", "1.5")
        pasted = run_cli(
            "predict", *url[:1], f"{url[1]}v1/models/echo:predict", "-H", "Authorization: Bearer s3cret", "2"
        )
        monkeypatch.setenv("TOKEN", "wr0ng")
        wrong = run_cli("predict", *url, "--model", "echo", "--header-env", "authorization=Bearer TOKEN", "1.5")
        without = run_cli("-v", "predict", *url, "--model", "echo", "-H", "authorization: wr0ng", "1.5")
    assert (right.stdout, right.stderr, right.code) == ("1.5\n", "", 0)
    assert (pasted.stdout, pasted.stderr, pasted.code) == ("2.0\n", "", 0)
    assert wrong.code == 5
    assert "cause: a gateway in front of the server requires authentication\n" in wrong.stderr
    assert f"echo at {HOST}:{port}/models refused (UNAUTHENTICATED)" in wrong.stderr
    assert not any(secret in text for secret in ("s3cret", "wr0ng") for text in (wrong.stderr, without.stderr))


def test_headers_are_grpc_metadata() -> None:
    """Names in lower case, values as they are, bytes for names that end in -bin."""
    metadata: list[Any] = []
    with grpc_server(metadata) as port:
        headers = (Header("X-Tenant", "acme"), Header("trace-bin", "abc"))
        with open_client("grpc", HOST, port, connection=Connection(headers=headers)) as client:
            client.status(ECHO)
    assert {("x-tenant", "acme"), ("trace-bin", b"abc")} <= {tuple(entry) for entry in metadata[0]}


def test_round_robin_spreads_requests() -> None:
    """Every address of a name gets its share; without it one gets all."""
    first: list[Any] = []
    second: list[Any] = []
    with grpc_server(first) as one, grpc_server(second) as two:
        name = f"ipv4:{HOST}:{one},{HOST}:{two}"
        for balancing, both in (("round_robin", True), (None, False)):
            first.clear()
            second.clear()
            with open_client(
                "grpc", name, 0, connection=Connection(balancing="round_robin" if balancing else None)
            ) as client:
                deadline = time.monotonic() + PATIENCE_S
                while not (first and second) and time.monotonic() < deadline and len(first + second) < 20:
                    client.status(ECHO)
            assert (bool(first) and bool(second)) == both


@contextmanager
def grpc_server(metadata: list[Any]) -> Iterator[int]:
    """A gRPC server that knows every model and keeps the metadata of each call; yields its port."""

    class Handlers(grpc.GenericRpcHandler):
        """Answers every method with an empty status."""

        def service(self, details: Any) -> Any:
            metadata.append(details.invocation_metadata)
            return grpc.unary_unary_rpc_method_handler(
                lambda _request, _context: protos.GetModelStatusResponse(),
                response_serializer=protos.GetModelStatusResponse.SerializeToString,
            )

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Handlers()])
    port = server.add_insecure_port(f"{HOST}:0")
    server.start()
    yield port
    server.stop(0).wait()


@contextmanager
def port_that_never_connects() -> Iterator[int]:
    """A port whose accept queue is full: the kernel completes no connection."""
    with ExitStack() as sockets, socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen(0)
        for _ in range(4):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@BOTH
def test_connecting_may_have_a_limit_of_its_own(transport: Transport) -> None:
    """--connect-timeout ends the wait for a host that does not answer, long before --timeout."""
    with port_that_never_connects() as port:
        connection = Connection(connect_timeout_s=0.2)
        with (
            open_client(transport, HOST, port, timeout_s=3600, connection=connection) as client,
            pytest.raises(NotReadyInTime) as raised,
        ):
            client.status(ECHO)
        assert "--connect-timeout" in raised.value.hint


@contextmanager
def dripping_server(beginning: bytes, drop: bytes, pause_s: float) -> Iterator[int]:
    """The port of a server that answers with `beginning`, and then sends `drop` again and again, with pauses."""
    is_over = threading.Event()
    with socket.create_server((HOST, 0)) as listener, ThreadPoolExecutor(1) as threads:

        def drip() -> None:
            client, _ = listener.accept()
            with client, suppress(OSError):
                client.sendall(beginning)
                while not is_over.wait(pause_s):
                    client.sendall(drop)

        threads.submit(drip)
        try:
            yield listener.getsockname()[1]
        finally:
            is_over.set()


BODY, HEADERS = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n", b"HTTP/1.1 200 OK\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize(
    ("beginning", "drop", "pause_s"),
    [
        (BODY, b" ", 0.05),
        (BODY, b" ", 0),
        (HEADERS, b"x-a: b\r\n", 0.05),
        (HEADERS + b"x-a: ", b"b", 0.05),
        (b"", INTERIM, 0.05),
        (b"", INTERIM, 0),
    ],
    ids=["body", "flood of body", "headers", "one header", "interim answers", "flood of interim answers"],
)
def test_the_timeout_is_for_the_whole_answer(beginning: bytes, drop: bytes, pause_s: float) -> None:
    """The timeout ends a request to a server that keeps sending bytes."""
    with (
        dripping_server(beginning, drop, pause_s) as port,
        open_client("rest", HOST, port, timeout_s=0.3) as client,
        pytest.raises(NotReadyInTime),
    ):
        client.status(ECHO)


def test_ctrl_c_that_interrupts_no_system_call_ends_a_request() -> None:
    """A signal that another thread receives, or that arrives just before a system call, does not end that call."""
    with socket.create_server((HOST, 0)) as listener, ThreadPoolExecutor(1) as threads:

        def interrupt() -> socket.socket:
            client, _ = listener.accept()
            client.recv(1000)
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
            return client

        interrupted = threads.submit(interrupt)
        with (
            open_client("rest", HOST, listener.getsockname()[1], timeout_s=10 * PATIENCE_S) as client,
            pytest.raises(KeyboardInterrupt),
        ):
            client.status(ECHO)
        interrupted.result().close()


@pytest.mark.parametrize(
    ("transport", "host", "connection", "words"),
    [
        ("rest", "localhost", Connection(balancing="round_robin"), "requests are spread over gRPC only"),
        ("rest", "dns:localhost:1", Connection(), "'dns:localhost:1' is an address for gRPC only"),
        ("grpc", "localhost", Connection(path="/models"), "gRPC has no paths: /models"),
    ],
)
def test_options_that_a_transport_lacks_are_refused_before_anything_is_sent(
    transport: Transport, host: str, connection: Connection, words: str
) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidInput, match=words):
        open_client(transport, host, 1, connection=connection)


def test_a_rejected_request_says_who_refused(served: Served) -> None:
    """An answer of a proxy does not look like one of TensorFlow Serving."""
    with open_client("rest", HOST, served.grpc_port) as client, pytest.raises(RequestRejected):
        client.status(ECHO)
