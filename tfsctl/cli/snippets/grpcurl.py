"""A gRPC call as a command line of grpcurl. It asks the server's reflection for the messages, as TensorFlow Serving has it."""

from __future__ import annotations

from tfsctl.cli.snippets import shell
from tfsctl.clients.captured_request import CapturedRequest
from tfsctl.clients.connection import DEFAULT_TIMEOUT_S
from tfsctl.errors import InvalidInput

_LARGEST = 2**31 - 1


def shown(call: CapturedRequest) -> str:
    """The command line that asks the same. Raises InvalidInput for a proxy, which grpcurl takes from variables only."""
    from google.protobuf.json_format import MessageToJson

    connection = call.connection
    tls = connection.tls
    if connection.proxy is not None:
        raise InvalidInput("grpcurl takes its proxy from HTTPS_PROXY only", hint="set that, and leave out --proxy")
    lines = [["grpcurl"]]
    if tls is None:
        lines.append(["-plaintext"])
    else:
        files = (("-cacert", tls.ca), ("-cert", tls.cert), ("-key", tls.key or tls.cert))
        lines += [[option, str(file)] for option, file in files if file is not None]
    if call.timeout_s != DEFAULT_TIMEOUT_S:
        lines.append(["-max-time", shell.seconds(call.timeout_s)])
    if connection.connect_timeout_s is not None:
        lines.append(["-connect-timeout", shell.seconds(connection.connect_timeout_s)])
    lines += [["-H", shell.header(header, ": ")] for header in connection.headers]
    lines.append(["-max-msg-sz", str(_LARGEST)])
    where = (
        ["-unix", call.host.removeprefix("unix:").removeprefix("//")]
        if call.host.startswith("unix:")
        else [shell.address(call)]
    )
    body = MessageToJson(call.payload, indent=None)
    method = [*where, call.path.removeprefix("/")]
    if len(body) > shell.MAX_ARGUMENT:
        return shell.command([*lines, ["-d", "@"], method], body)
    return shell.command([*lines, ["-d", body], method])
