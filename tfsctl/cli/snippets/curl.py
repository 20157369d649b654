"""A REST request as a `curl` command line."""

from __future__ import annotations

from dataclasses import replace

from tfsctl.cli.snippets import shell
from tfsctl.clients.addresses import unix_path
from tfsctl.clients.captured_request import CapturedRequest
from tfsctl.clients.connection import DEFAULT_TIMEOUT_S


def snippet(request: CapturedRequest) -> str:
    """Return the command line that sends the request."""
    connection, body = request.connection, request.payload.decode()
    tls = connection.tls
    lines, url = [["curl"]], shell.url(request)
    socket = unix_path(request.host)
    if socket is not None:
        lines.append(["--unix-socket", socket])
    if tls is not None:
        files = (("--cacert", tls.ca), ("--cert", tls.cert), ("--key", tls.key))
        lines += [[option, str(file)] for option, file in files if file is not None]
        if tls.server_name is not None:  # curl checks the certificate for the host of the URL
            lines.append(["--connect-to", f"{tls.server_name}:{request.port}:{shell.address(request)}"])
            url = shell.url(replace(request, host=tls.server_name))
    if connection.proxy is not None:
        lines.append(["--proxy", connection.proxy])
    if request.timeout_s != DEFAULT_TIMEOUT_S:
        lines.append(["--max-time", shell.seconds(request.timeout_s)])
    if connection.connect_timeout_s is not None:
        lines.append(["--connect-timeout", shell.seconds(connection.connect_timeout_s)])
    lines += [["-H", shell.header(header, ": ")] for header in connection.headers]
    if len(body) > shell.MAX_ARGUMENT:
        return shell.command([*lines, ["--data-binary", "@-"], [url]], body)
    option = "--data-raw" if body.startswith("@") else "-d"  # -d would read a file
    return shell.command([*lines, [option, body], [url]])
