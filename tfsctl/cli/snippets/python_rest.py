"""A REST request as a Python program that needs the standard library only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tfsctl.cli.snippets import shell
from tfsctl.cli.snippets.python_headers import header_expression, needs_os_module
from tfsctl.clients.addresses import unix_path
from tfsctl.clients.captured_request import CapturedRequest
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.clients.connection import ClientTls


def snippet(request: CapturedRequest) -> str:
    """Return the program that sends the request and prints the answer. Raises InvalidInput for a UNIX socket."""
    return "\n".join(_lines(request))


def _lines(request: CapturedRequest) -> Iterator[str]:
    if unix_path(request.host) is not None:
        raise InvalidInput("Python's HTTP client does not support UNIX sockets", hint="--show curl")
    shell.refuse_server_name(request, "Python's own HTTP client")
    connection = request.connection
    yield "import json"
    if needs_os_module(connection):
        yield "import os"
    if connection.tls is not None:
        yield "import ssl"
    yield "import urllib.request"
    yield ""
    yield f"body = {request.payload.decode()!r}"
    headers = {"content-type": "'application/json'"}
    headers |= {header.name: header_expression(header) for header in connection.headers}
    yield "headers = {" + ", ".join(f"{name!r}: {value}" for name, value in headers.items()) + "}"
    yield f"request = urllib.request.Request({shell.url(request)!r}, body.encode(), headers)"
    handlers = []
    if connection.proxy is not None:
        scheme = "https" if connection.tls else "http"
        handlers.append(f"urllib.request.ProxyHandler({{{scheme!r}: {connection.proxy!r}}})")
    if connection.tls is not None:
        yield from _tls_context_lines(connection.tls)
        handlers.append("urllib.request.HTTPSHandler(context=context)")
    yield f"opener = urllib.request.build_opener({', '.join(handlers)})"
    yield f"with opener.open(request, timeout={request.timeout_s:g}) as response:"
    yield "    print(json.load(response))"


def _tls_context_lines(tls: ClientTls) -> Iterator[str]:
    ca = "" if tls.ca is None else f"cafile={str(tls.ca)!r}"
    yield f"context = ssl.create_default_context({ca})"
    if tls.cert is not None:
        files: tuple[Any, ...] = (tls.cert,) if tls.key is None else (tls.cert, tls.key)
        yield f"context.load_cert_chain({', '.join(repr(str(file)) for file in files)})"
