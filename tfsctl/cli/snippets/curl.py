"""A REST request as a `curl` command line."""

from __future__ import annotations

from tfsctl.cli.snippets import shell
from tfsctl.clients.captured_request import CapturedRequest
from tfsctl.clients.connection import DEFAULT_TIMEOUT_S


def snippet(request: CapturedRequest) -> str:
    """Return the command line that sends the request."""
    connection, body = request.connection, request.payload.decode()
    tls = connection.tls
    lines = [["curl"]]
    if request.host.startswith("unix:"):
        lines.append(["--unix-socket", request.host.removeprefix("unix:").removeprefix("//")])
    if tls is not None:
        files = (("--cacert", tls.ca), ("--cert", tls.cert), ("--key", tls.key))
        lines += [[option, str(file)] for option, file in files if file is not None]
    if connection.proxy is not None:
        lines.append(["--proxy", connection.proxy])
    if request.timeout_s != DEFAULT_TIMEOUT_S:
        lines.append(["--max-time", shell.seconds(request.timeout_s)])
    if connection.connect_timeout_s is not None:
        lines.append(["--connect-timeout", shell.seconds(connection.connect_timeout_s)])
    lines += [["-H", shell.header(header, ": ")] for header in connection.headers]
    if len(body) > shell.MAX_ARGUMENT:
        return shell.command([*lines, ["--data-binary", "@-"], [shell.url(request)]], body)
    option = "--data-raw" if body.startswith("@") else "-d"  # -d would read a file
    return shell.command([*lines, [option, body], [shell.url(request)]])
