"""A REST call as a `curl` command line."""

from __future__ import annotations

from tfsctl.cli.snippets import shell
from tfsctl.clients.captured_request import CapturedRequest
from tfsctl.clients.connection import DEFAULT_TIMEOUT_S


def shown(call: CapturedRequest) -> str:
    """The command line that asks the same."""
    connection, body = call.connection, call.payload.decode()
    tls = connection.tls
    lines = [["curl"]]
    if call.host.startswith("unix:"):
        lines.append(["--unix-socket", call.host.removeprefix("unix:").removeprefix("//")])
    if tls is not None:
        files = (("--cacert", tls.ca), ("--cert", tls.cert), ("--key", tls.key))
        lines += [[option, str(file)] for option, file in files if file is not None]
    if connection.proxy is not None:
        lines.append(["--proxy", connection.proxy])
    if call.timeout_s != DEFAULT_TIMEOUT_S:
        lines.append(["--max-time", shell.seconds(call.timeout_s)])
    if connection.connect_timeout_s is not None:
        lines.append(["--connect-timeout", shell.seconds(connection.connect_timeout_s)])
    lines += [["-H", shell.header(header, ": ")] for header in connection.headers]
    if len(body) > shell.MAX_ARGUMENT:
        return shell.command([*lines, ["--data-binary", "@-"], [shell.url(call)]], body)
    option = "--data-raw" if body.startswith("@") else "-d"  # would read a file of that name
    return shell.command([*lines, [option, body], [shell.url(call)]])
