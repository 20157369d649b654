"""Where the server listens: what of that cannot be, found out before anything heavy starts."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import stat
from contextlib import suppress
from dataclasses import replace

from tfsctl.server.addresses import ip_address
from tfsctl.server.envoy_config import channel_arguments
from tfsctl.server.flags import Flags
from tfsctl.server.monitoring_config import prometheus_path
from tfsctl.server.status import ServingError, invalid_argument

log = logging.getLogger(__name__)

DIRECTORY_VARIABLE = "TFSCTL_SERVER_DIRECTORY"  # a folder for the time the server lives, where it needs one
_LONGEST_SOCKET_PATH = 107  # bytes, sun_path of unix(7)


def check_grpc_is_asked_for(flags: Flags) -> None:
    """Raise INVALID_ARGUMENT, as the real server does, when gRPC is given no place."""
    if not flags.port and not flags.grpc_socket_path:
        raise invalid_argument(
            "At least one of server_options.grpc_port or server_options.grpc_socket_path must be set."
        )


def settled(flags: Flags) -> Flags:
    """The flags, with REST off where it cannot be served: the real server goes on without it, and says so in its log.

    Raises INVALID_ARGUMENT when gRPC cannot be served, with the reason in the log.
    """
    channel_arguments(flags.grpc_channel_arguments)
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


def tidy(flags: Flags) -> None:
    """Remove what listening left on the disk: the UNIX socket, and the server's own folder."""
    if flags.grpc_socket_path:
        with suppress(OSError):
            os.unlink(flags.grpc_socket_path)
    if directory := os.environ.get(DIRECTORY_VARIABLE):
        shutil.rmtree(directory, ignore_errors=True)


def _check_port(host: str, port: int, flag: str) -> None:
    """Raise OSError naming a port that cannot be listened on."""
    try:
        address = ip_address(host)
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OSError(f"cannot listen on {host}:{port} ({flag}): {reason}") from error


def _check_socket_path(path: str) -> None:
    """Raise OSError for a path where no socket can be; the socket of a server that is gone may be there."""
    said = f"cannot listen on the UNIX socket {path} (--grpc_socket_path): "
    absolute = os.path.abspath(path)
    if len(os.fsencode(absolute)) > _LONGEST_SOCKET_PATH:
        raise OSError(f"{said}the path has more than {_LONGEST_SOCKET_PATH} bytes")
    if not os.access(os.path.dirname(absolute), os.W_OK | os.X_OK):
        raise OSError(f"{said}there is no folder that can be written to")
    if not os.path.lexists(absolute):
        return
    if not stat.S_ISSOCK(os.stat(absolute).st_mode):
        raise OSError(f"{said}there is a file that is no socket")
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(absolute) == 0:
            raise OSError(f"{said}Address already in use")
