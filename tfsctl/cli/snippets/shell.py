"""Command lines for a shell: quoted, one option a line, with long input from a here-document."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from tfsctl.clients.captured_request import CapturedRequest
from tfsctl.clients.connection import Header

MAX_ARGUMENT = 100_000  # Linux takes 128 KB in one
_END = "END_OF_REQUEST"


class Quoted(str):
    """Text that is quoted for the shell already."""

    __slots__ = ()


def command(lines: Sequence[Sequence[str]], stdin: str | None = None) -> str:
    """A command line of words, broken after each group of them; with its stdin after it."""
    text = " \\\n  ".join(
        " ".join(w if isinstance(w, Quoted) else shlex.quote(w) for w in line) for line in lines if line
    )
    return text if stdin is None else f"{text} <<'{_END}'\n{stdin}\n{_END}"


def header(header: Header, separator: str) -> str:
    """`name: value` as one word; a secret is left to its variable."""
    start = f"{header.name}{separator}"
    if not header.variable:
        return f"{start}{header.value}"
    return Quoted(f'{shlex.quote(start + header.prefix)}"${header.variable}"')


def seconds(value: float) -> str:
    """A time as curl and grpcurl take it."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


def url(call: CapturedRequest) -> str:
    """The whole URL of a REST call."""
    scheme = "https" if call.connection.tls else "http"
    at = "localhost" if call.host.startswith("unix:") else address(call)
    return f"{scheme}://{at}{call.connection.path}{call.path}"


def address(call: CapturedRequest) -> str:
    """`host:port`, with the brackets of an IPv6 address."""
    bare = call.host.strip("[]")
    return f"[{bare}]:{call.port}" if ":" in bare else f"{bare}:{call.port}"
