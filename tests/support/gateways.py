"""Servers between a client and a model server: an HTTP proxy, and a gateway with paths and tokens."""

from __future__ import annotations

import http.client
import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from http_handlers import serving

HOST = "127.0.0.1"


@dataclass
class Proxy:
    """A running HTTP proxy: its port, the first line of the first request of each connection, the bytes sent to it."""

    port: int
    requests: list[str] = field(default_factory=list)
    bytes_up: int = 0

    @property
    def url(self) -> str:
        """The URL of the proxy."""
        return f"http://{HOST}:{self.port}"


@contextmanager
def running_proxy() -> Iterator[Proxy]:
    """An HTTP proxy for tunnels (CONNECT) and for plain requests (absolute URLs), while the block lasts."""
    with socket.create_server((HOST, 0)) as listener:
        proxy = Proxy(listener.getsockname()[1])
        threading.Thread(target=_accept, args=(listener, proxy), daemon=True).start()
        yield proxy
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, proxy: Proxy) -> None:
    with suppress(OSError):  # the listener was closed
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_serve, args=(client, proxy), daemon=True).start()


def _serve(client: socket.socket, proxy: Proxy) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        if not (chunk := client.recv(65536)):
            return
        received += chunk
    line, rest = received.split(b"\r\n", 1)
    proxy.requests.append(line.decode())
    verb, target, _ = line.decode().split(" ")
    if verb == "CONNECT":
        host, _, port = target.rpartition(":")
        server = socket.create_connection((host, int(port)))
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
    else:
        url = urlsplit(target)
        server = socket.create_connection((url.hostname or "", url.port or 80))
        proxy.bytes_up += len(received)
        server.sendall(f"{verb} {url.path} HTTP/1.1\r\n".encode() + rest)
    down = threading.Thread(target=_pump, args=(server, client), daemon=True)
    down.start()
    with suppress(OSError):
        while chunk := client.recv(65536):
            proxy.bytes_up += len(chunk)
            server.sendall(chunk)
    server.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            sink.sendall(chunk)
    sink.close()


@contextmanager
def running_gateway(rest_port: int, *, path: str, authorization: str) -> Iterator[int]:
    """A gateway to a REST port, under a path and for one token only, while the block lasts; yields its port."""

    class Gateway(http.server.BaseHTTPRequestHandler):
        """Checks, and passes on."""

        def do_GET(self) -> None:
            if self.headers["authorization"] != authorization or not self.path.startswith(path):
                self.send_error(401)
                return
            body = self.rfile.read(int(self.headers["content-length"] or 0))
            connection = http.client.HTTPConnection(HOST, rest_port, timeout=240)
            connection.request(self.command, self.path.removeprefix(path), body)
            response = connection.getresponse()
            content = response.read()
            connection.close()
            self.send_response(response.status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_GET  # noqa: N815 - its name there

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Nothing: tests read no log of it."""

    with serving(Gateway) as port:
        yield port
