"""A gRPC request as a command line of grpcurl, which gets the message types from the server's reflection service."""

from __future__ import annotations

from tfsctl.cli.snippets import shell
from tfsctl.clients.addresses import unix_path
from tfsctl.clients.captured_request import CapturedRequest
from tfsctl.clients.connection import DEFAULT_TIMEOUT_S
from tfsctl.errors import InvalidInput

_MAX_MESSAGE_SIZE = 2**31 - 1


def snippet(request: CapturedRequest) -> str:
    """Return the command line that sends the request. Raises InvalidInput for a proxy."""
    from google.protobuf.json_format import MessageToJson

    connection = request.connection
    tls = connection.tls
    if connection.proxy is not None:
        raise InvalidInput("grpcurl takes its proxy from HTTPS_PROXY only", hint="set HTTPS_PROXY, and remove --proxy")
    lines = [["grpcurl"]]
    if tls is None:
        lines.append(["-plaintext"])
    else:
        files = (("-cacert", tls.ca), ("-cert", tls.cert), ("-key", tls.key or tls.cert))
        lines += [[option, str(file)] for option, file in files if file is not None]
    if tls is not None and tls.server_name is not None:
        lines.append(["-servername", tls.server_name])
    if request.timeout_s != DEFAULT_TIMEOUT_S:
        lines.append(["-max-time", shell.seconds(request.timeout_s)])
    if connection.connect_timeout_s is not None:
        lines.append(["-connect-timeout", shell.seconds(connection.connect_timeout_s)])
    lines += [["-H", shell.header(header, ": ")] for header in connection.headers]
    lines.append(["-max-msg-sz", str(_MAX_MESSAGE_SIZE)])
    socket = unix_path(request.host)
    where = [shell.address(request)] if socket is None else ["-unix", socket]
    body = MessageToJson(request.payload, indent=None)
    method = [*where, request.path.removeprefix("/")]
    if len(body) > shell.MAX_ARGUMENT:
        return shell.command([*lines, ["-d", "@"], method], body)
    return shell.command([*lines, ["-d", body], method])
