"""A REST request as a command line of HTTPie."""

from __future__ import annotations

from tfsctl.cli.snippets import shell
from tfsctl.clients.addresses import unix_path
from tfsctl.clients.captured_request import CapturedRequest
from tfsctl.clients.connection import DEFAULT_TIMEOUT_S
from tfsctl.errors import InvalidInput


def snippet(request: CapturedRequest) -> str:
    """Return the command line that sends the request. Raises InvalidInput for a UNIX socket or a server name."""
    if unix_path(request.host) is not None:
        raise InvalidInput("HTTPie does not support UNIX sockets", hint="--show curl")
    shell.refuse_server_name(request, "HTTPie")
    connection, body = request.connection, request.payload.decode()
    tls = connection.tls
    lines = [["http"]]
    if tls is not None:
        files = (("--verify", tls.ca), ("--cert", tls.cert), ("--cert-key", tls.key))
        lines += [[option, str(file)] for option, file in files if file is not None]
    if connection.proxy is not None:
        lines.append(["--proxy", f"{'https' if tls else 'http'}:{connection.proxy}"])
    if request.timeout_s != DEFAULT_TIMEOUT_S:
        lines.append(["--timeout", shell.seconds(request.timeout_s)])
    words = ["POST", shell.url(request), *(shell.header(header, ":") for header in connection.headers)]
    if len(body) > shell.MAX_ARGUMENT:
        return shell.command([*lines, words], body)
    return shell.command([*lines, ["--ignore-stdin", "--raw", body], words])
