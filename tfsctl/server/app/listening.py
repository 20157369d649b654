"""The addresses that the server listens on, with their limits, and checks that run before TensorFlow is started."""

from __future__ import annotations

import logging
import os
import stat
from dataclasses import replace

from tfsctl.programs import port_handover
from tfsctl.programs.listening_socket import open_listener
from tfsctl.server.config.addresses import ip_address
from tfsctl.server.config.channel_arguments import arguments_without_effect, channel_limits
from tfsctl.server.config.flags import Flags
from tfsctl.server.config.monitoring_config import prometheus_path
from tfsctl.server.config.tls import Credentials
from tfsctl.server.http.listener import Address
from tfsctl.server.limits import Limits
from tfsctl.server.status import ServingError, invalid_argument

log = logging.getLogger(__name__)

_LONGEST_SOCKET_PATH = 107  # bytes, sun_path of unix(7)
_NO_LIMIT = 2**31 - 1  # of a size or a count


def check_grpc_address(flags: Flags) -> None:
    """Raise INVALID_ARGUMENT, as the real server does, if gRPC has neither a port nor a socket."""
    if not flags.port and not flags.grpc_socket_path:
        raise invalid_argument(
            "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."
        )


def check_addresses(flags: Flags) -> Flags:
    """Check that the server can listen on its addresses. Returns the flags, without REST if REST cannot be served.

    Like TensorFlow Serving, the server logs the reason and continues without REST. Raises INVALID_ARGUMENT if gRPC
    cannot be served, with the reason in the log.
    """
    channel_limits(flags.grpc_channel_arguments)
    for name in arguments_without_effect(flags.grpc_channel_arguments):
        log.warning("--grpc_channel_arguments: %s has no effect here", name)
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
    """The addresses to listen on. With credentials, gRPC uses TLS, and REST too if --rest_api_enable_ssl is set."""
    tls = None if credentials is None else credentials.ssl_context()
    limits = _limits(flags)
    grpc_limits = replace(limits, **channel_limits(flags.grpc_channel_arguments))
    listening = []
    if flags.grpc_socket_path:
        listening.append(Address(path=os.path.abspath(flags.grpc_socket_path), tls=tls, limits=grpc_limits))
    if flags.port:
        listening.append(Address(ip_address(flags.host), flags.port, tls=tls, limits=grpc_limits))
    if flags.rest_api_port:
        rest_tls = tls if flags.rest_api_enable_ssl else None
        listening.append(Address(ip_address(flags.host), flags.rest_api_port, tls=rest_tls, limits=limits))
    return listening


def _limits(flags: Flags) -> Limits:
    """The limits that flags set, for every address. A time or count of 0 means no limit."""
    return Limits(
        cache_requests=not flags.disable_request_optimizations,
        max_header_bytes=flags.max_header_bytes or _NO_LIMIT,
        max_header_count=flags.max_header_count or _NO_LIMIT,
        max_connections_per_peer=flags.max_connections_per_peer or _NO_LIMIT,
        max_requests_per_connection=flags.max_requests_per_connection or None,
        header_timeout_s=flags.request_header_timeout_seconds or None,
        body_grace_s=(flags.min_request_body_bytes_per_second and flags.request_body_timeout_seconds) or None,
        body_bytes_per_s=flags.min_request_body_bytes_per_second or 1,
        write_stall_timeout_s=flags.write_stall_timeout_seconds or None,
    )


def _check_port(host: str, port: int, flag: str) -> None:
    """Raise OSError that names the port if the server cannot listen on it."""
    if port_handover.is_joining():
        return  # another process listens on it
    try:
        open_listener(ip_address(host), port).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OSError(f"cannot listen on {host}:{port} ({flag}): {reason}") from error


def _check_socket_path(path: str) -> None:
    """Raise OSError if no socket can be created at a path. An existing socket is replaced, as in TensorFlow Serving."""
    prefix = f"cannot listen on the UNIX socket {path} (--grpc_socket_path): "
    absolute = os.path.abspath(path)
    if len(os.fsencode(absolute)) > _LONGEST_SOCKET_PATH:
        raise OSError(f"{prefix}the path has more than {_LONGEST_SOCKET_PATH} bytes")
    if not os.access(os.path.dirname(absolute), os.W_OK | os.X_OK):
        raise OSError(f"{prefix}its directory does not exist or is not writable")
    if not os.path.lexists(absolute):
        return
    if not os.path.exists(absolute):
        raise OSError(f"{prefix}a symbolic link whose target does not exist is there")
    if not stat.S_ISSOCK(os.stat(absolute).st_mode):
        raise OSError(f"{prefix}a file that is not a socket exists there")
