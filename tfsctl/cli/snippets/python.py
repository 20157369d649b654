"""A call as a Python program: REST with the standard library alone, gRPC with TensorFlow Serving's own modules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tfsctl.cli.snippets import shell
from tfsctl.clients.captured_request import CapturedRequest
from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.clients.connection import ClientTls, Connection, Header


def shown(call: CapturedRequest) -> str:
    """The program that asks the same and prints the answer. Raises InvalidInput for what it would not be short for."""
    if call.transport == "grpc":
        from tfsctl.cli.snippets import python_grpc

        return python_grpc.shown(call)
    return "\n".join(_rest(call))


def header_value(header: Header) -> str:
    """The value of a header as an expression; a secret is read from its variable."""
    if not header.variable:
        return repr(header.value)
    variable = f'os.environ["{header.variable}"]'
    return f"{header.prefix!r} + {variable}" if header.prefix else variable


def needs_environment(connection: Connection) -> bool:
    """Whether a header comes from a variable."""
    return any(header.variable for header in connection.headers)


def _rest(call: CapturedRequest) -> Iterator[str]:
    if call.host.startswith("unix:"):
        raise InvalidInput("Python's own HTTP client reaches no UNIX sockets", hint="--show curl")
    connection = call.connection
    yield "import json"
    if needs_environment(connection):
        yield "import os"
    if connection.tls is not None:
        yield "import ssl"
    yield "import urllib.request"
    yield ""
    yield f"body = {call.payload.decode()!r}"
    headers = {"content-type": "'application/json'"}
    headers |= {header.name: header_value(header) for header in connection.headers}
    yield "headers = {" + ", ".join(f"{name!r}: {value}" for name, value in headers.items()) + "}"
    yield f"request = urllib.request.Request({shell.url(call)!r}, body.encode(), headers)"
    handlers = []
    if connection.proxy is not None:
        scheme = "https" if connection.tls else "http"
        handlers.append(f"urllib.request.ProxyHandler({{{scheme!r}: {connection.proxy!r}}})")
    if connection.tls is not None:
        yield from _context(connection.tls)
        handlers.append("urllib.request.HTTPSHandler(context=context)")
    yield f"opener = urllib.request.build_opener({', '.join(handlers)})"
    yield f"with opener.open(request, timeout={call.timeout_s:g}) as response:"
    yield "    print(json.load(response))"


def _context(tls: ClientTls) -> Iterator[str]:
    ca = "" if tls.ca is None else f"cafile={str(tls.ca)!r}"
    yield f"context = ssl.create_default_context({ca})"
    if tls.cert is not None:
        files: tuple[Any, ...] = (tls.cert,) if tls.key is None else (tls.cert, tls.key)
        yield f"context.load_cert_chain({', '.join(repr(str(file)) for file in files)})"
