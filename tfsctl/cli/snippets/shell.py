"""Build shell command lines: quoted words, one option per line, long input as a here-document."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from tfsctl.clients.addresses import format_address, unix_path
from tfsctl.clients.captured_request import CapturedRequest
from tfsctl.clients.connection import Header
from tfsctl.errors import InvalidInput

MAX_ARGUMENT = 100_000  # bytes; Linux allows 128 KB per argument
_END = "END_OF_REQUEST"


class Quoted(str):
    """Text that is already quoted for the shell."""

    __slots__ = ()


def command(lines: Sequence[Sequence[str]], stdin: str | None = None) -> str:
    """Return a command line with one group of words per line, and a here-document for its standard input."""
    text = " \\\n  ".join(
        " ".join(w if isinstance(w, Quoted) else shlex.quote(w) for w in line) for line in lines if line
    )
    return text if stdin is None else f"{text} <<'{_END}'\n{stdin}\n{_END}"


def header(header: Header, separator: str) -> str:
    """Return `name: value` as one word; a secret is read from its variable."""
    start = f"{header.name}{separator}"
    if not header.variable:
        return f"{start}{header.value}"
    return Quoted(f'{shlex.quote(start + header.prefix)}"${header.variable}"')


def seconds(value: float) -> str:
    """A time in seconds, without an exponent or trailing zeros."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def url(request: CapturedRequest) -> str:
    """The URL of a REST request."""
    scheme = "https" if request.connection.tls else "http"
    at = "localhost" if unix_path(request.host) is not None else address(request)
    return f"{scheme}://{at}{request.connection.path}{request.path}"


def refuse_server_name(request: CapturedRequest, program: str) -> None:
    """Raise InvalidInput if the certificate is checked for another name than the host, which the program cannot do."""
    tls = request.connection.tls
    if tls is not None and tls.server_name is not None:
        raise InvalidInput(
            f"{program} cannot check the server's certificate for another name ({tls.server_name})",
            hint="--show curl",
        )


def address(request: CapturedRequest) -> str:
    """`host:port`, or gRPC's name for the server, such as `unix:PATH`."""
    return format_address(request.host, request.port)
