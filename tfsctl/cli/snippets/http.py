"""A REST call as a command line of HTTPie."""

from __future__ import annotations

from tfsctl.cli.snippets import shell
from tfsctl.clients.captured_request import CapturedRequest
from tfsctl.clients.connection import DEFAULT_TIMEOUT_S
from tfsctl.errors import InvalidInput


def shown(call: CapturedRequest) -> str:
    """The command line that asks the same. Raises InvalidInput for a UNIX socket, which HTTPie cannot reach."""
    if call.host.startswith("unix:"):
        raise InvalidInput("HTTPie reaches no UNIX sockets", hint="--show curl")
    connection, body = call.connection, call.payload.decode()
    tls = connection.tls
    lines = [["http"]]
    if tls is not None:
        files = (("--verify", tls.ca), ("--cert", tls.cert), ("--cert-key", tls.key))
        lines += [[option, str(file)] for option, file in files if file is not None]
    if connection.proxy is not None:
        lines.append(["--proxy", f"{'https' if tls else 'http'}:{connection.proxy}"])
    if call.timeout_s != DEFAULT_TIMEOUT_S:
        lines.append(["--timeout", shell.seconds(call.timeout_s)])
    request = ["POST", shell.url(call), *(shell.header(header, ":") for header in connection.headers)]
    if len(body) > shell.MAX_ARGUMENT:
        return shell.command([*lines, request], body)
    return shell.command([*lines, ["--ignore-stdin", "--raw", body], request])
