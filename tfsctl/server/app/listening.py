"""Where the server listens, and with which limits. What cannot be is found out before anything heavy starts."""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import replace
from typing import Any

from tfsctl.programs import port_handover
from tfsctl.programs.listening_socket import open_listener
from tfsctl.server.config.addresses import ip_address
from tfsctl.server.config.flags import Flags
from tfsctl.server.config.monitoring_config import prometheus_path
from tfsctl.server.config.tls import Credentials
from tfsctl.server.http.listener import Address
from tfsctl.server.limits import Limits
from tfsctl.server.status import ServingError, invalid_argument

log = logging.getLogger(__name__)

_LONGEST_SOCKET_PATH = 107  # bytes, sun_path of unix(7)


def check_grpc_is_asked_for(flags: Flags) -> None:
    """Raise INVALID_ARGUMENT, as the real server does, when gRPC is given no place."""
    if not flags.port and not flags.grpc_socket_path:
        raise invalid_argument(
            "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."
        )


def settled(flags: Flags) -> Flags:
    """The flags, with REST off if it cannot be served: like TensorFlow Serving, the server continues without REST and logs the reason.

    Raises INVALID_ARGUMENT when gRPC cannot be served, with the reason in the log.
    """
    _channel_limits(flags.grpc_channel_arguments)
    _warn_of_unknown(flags.grpc_channel_arguments)
    try:
        if flags.port:
            _check_port(flags.host, flags.port, "--port")
        if flags.grpc_socket_path:
            _check_socket_path(flags.grpc_socket_path)
    except OSError as error:
        log.error("%s", error)  # noqa: TRY400 - a line for people
        raise invalid_argument("Failed to BuildAndStart gRPC server") from error
    if not flags.rest_api_port:
        return flags
    if flags.rest_api_port == flags.port:
        log.error(
            "server_options.http_port cannot be same as grpc_port. Please use a different port for HTTP/REST API. "
            "Skipped exporting HTTP/REST API."
        )
        return replace(flags, rest_api_port=0)
    try:
        _check_port(flags.host, flags.rest_api_port, "--rest_api_port")
        prometheus_path(flags.monitoring_config_file)
    except (OSError, ServingError) as error:
        log.error("Failed to start HTTP Server at localhost:%d: %s", flags.rest_api_port, error)  # noqa: TRY400
        return replace(flags, rest_api_port=0)
    return flags


def addresses(flags: Flags, credentials: Credentials | None) -> list[Address]:
    """Where to listen: gRPC over TLS if there are credentials, REST only if --rest_api_enable_ssl is set, too."""
    tls = None if credentials is None else credentials.context()
    limits = _limits(flags)
    grpc_limits = replace(limits, **_channel_limits(flags.grpc_channel_arguments))
    found = []
    if flags.grpc_socket_path:
        found.append(Address(path=os.path.abspath(flags.grpc_socket_path), tls=tls, limits=grpc_limits))
    if flags.port:
        found.append(Address(ip_address(flags.host), flags.port, tls=tls, limits=grpc_limits))
    if flags.rest_api_port:
        rest_tls = tls if flags.rest_api_enable_ssl else None
        found.append(Address(ip_address(flags.host), flags.rest_api_port, tls=rest_tls, limits=limits))
    return found


_LARGEST = 2**31 - 1  # gRPC's numbers are ints
_CHANNEL_ARGUMENTS = {  # and the fields of Limits that they set
    "grpc.max_connection_age_ms": "max_age_s",
    "grpc.max_connection_idle_ms": "max_idle_s",
    "grpc.keepalive_time_ms": "keepalive_s",
    "grpc.keepalive_timeout_ms": "keepalive_timeout_s",
    "grpc.max_concurrent_streams": "max_streams",
}
_MAX_MESSAGE_ARGUMENT = "grpc.max_receive_message_length"  # read by the application; -1 means no limit


def _limits(flags: Flags) -> Limits:
    """The limits that flags set, for every address. A time or count of 0 means no limit."""
    return Limits(
        cache_requests=not flags.disable_request_optimizations,
        max_header_bytes=flags.max_header_bytes,
        max_header_count=flags.max_header_count,
        max_connections_per_peer=flags.max_connections_per_peer or _LARGEST,
        max_requests_per_connection=flags.max_requests_per_connection or None,
        header_timeout_s=flags.request_header_timeout_seconds or None,
        body_grace_s=flags.request_body_timeout_seconds or None,
        body_bytes_per_s=max(1, flags.min_request_body_bytes_per_second),
        write_stall_timeout_s=flags.write_stall_timeout_seconds or None,
    )


def _channel_limits(channel_arguments: str) -> dict[str, Any]:
    """The fields of Limits that --grpc_channel_arguments sets.

    Raises INVALID_ARGUMENT for what is not name=value,name=value.
    """
    fields: dict[str, Any] = {}
    for argument in filter(None, channel_arguments.split(",")):
        name, equals, value = argument.partition("=")
        is_ours = name in _CHANNEL_ARGUMENTS or name == _MAX_MESSAGE_ARGUMENT
        is_number = value.isdecimal() or (name == _MAX_MESSAGE_ARGUMENT and value == "-1")
        if not equals or (is_ours and not is_number):
            raise invalid_argument(f"--grpc_channel_arguments: {argument} is not name=number")
        if name in _CHANNEL_ARGUMENTS:
            number = min(int(value), _LARGEST)
            fields[_CHANNEL_ARGUMENTS[name]] = number / 1000 if name.endswith("_ms") else number
    if fields.get("max_streams") == 0:
        raise invalid_argument("--grpc_channel_arguments: grpc.max_concurrent_streams=0 would let no call in")
    return fields


def _warn_of_unknown(channel_arguments: str) -> None:
    for argument in filter(None, channel_arguments.split(",")):
        name = argument.partition("=")[0]
        if name not in _CHANNEL_ARGUMENTS and name != _MAX_MESSAGE_ARGUMENT:
            log.warning("--grpc_channel_arguments: %s has no effect here", name)


def _check_port(host: str, port: int, flag: str) -> None:
    """Raise OSError naming a port that cannot be listened on."""
    if port_handover.is_joining():
        return  # another process listens on it
    try:
        open_listener(ip_address(host), port).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OSError(f"cannot listen on {host}:{port} ({flag}): {reason}") from error


def _check_socket_path(path: str) -> None:
    """Raise OSError for a path where no socket can be. A socket that is there is replaced, as in TensorFlow Serving."""
    prefix = f"cannot listen on the UNIX socket {path} (--grpc_socket_path): "
    absolute = os.path.abspath(path)
    if len(os.fsencode(absolute)) > _LONGEST_SOCKET_PATH:
        raise OSError(f"{prefix}the path has more than {_LONGEST_SOCKET_PATH} bytes")
    if not os.access(os.path.dirname(absolute), os.W_OK | os.X_OK):
        raise OSError(f"{prefix}its directory does not exist or is not writable")
    if not os.path.lexists(absolute):
        return
    if not stat.S_ISSOCK(os.stat(absolute).st_mode):
        raise OSError(f"{prefix}a file that is not a socket exists there")
