"""Parses --grpc_channel_arguments: the settings of gRPC's C++ server that this server has too.

Names: https://github.com/grpc/grpc/blob/master/include/grpc/impl/channel_arg_names.h.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tfsctl.server.limits import MAX_MESSAGE_BYTES
from tfsctl.server.status import invalid_argument

_MAX_INT = 2**31 - 1
_LIMITS_FIELDS = {
    "grpc.max_connection_age_ms": "max_age_s",
    "grpc.max_connection_idle_ms": "max_idle_s",
    "grpc.keepalive_time_ms": "keepalive_s",
    "grpc.keepalive_timeout_ms": "keepalive_timeout_s",
    "grpc.max_concurrent_streams": "max_streams",
}
"""By name: the field of Limits that an argument sets."""
_MAX_MESSAGE_ARGUMENT = "grpc.max_receive_message_length"  # -1 means no limit


def channel_limits(channel_arguments: str) -> dict[str, Any]:
    """The fields of Limits that the arguments set.

    Raises INVALID_ARGUMENT unless all arguments have the form NAME=VALUE, and those of this server a number as VALUE.
    """
    limits: dict[str, Any] = {}
    for name, equals, value in _arguments(channel_arguments):
        is_number = value.isdecimal() or (name == _MAX_MESSAGE_ARGUMENT and value == "-1")
        if not equals or (_is_known(name) and not is_number):
            raise invalid_argument(f"--grpc_channel_arguments: {name}{equals}{value} is not name=number")
        if name in _LIMITS_FIELDS:
            number = min(int(value), _MAX_INT)
            limits[_LIMITS_FIELDS[name]] = number / 1000 if name.endswith("_ms") else number
    if limits.get("max_streams") == 0:
        raise invalid_argument("--grpc_channel_arguments: grpc.max_concurrent_streams=0 would let no call in")
    return limits


def max_message_bytes(channel_arguments: str) -> int:
    """The value of grpc.max_receive_message_length; gRPC's own limit without it, or if it is -1."""
    limit = MAX_MESSAGE_BYTES
    for name, _, value in _arguments(channel_arguments):
        if name == _MAX_MESSAGE_ARGUMENT:
            limit = int(value) if value.isdecimal() else MAX_MESSAGE_BYTES
    return min(limit, MAX_MESSAGE_BYTES)


def arguments_without_effect(channel_arguments: str) -> list[str]:
    """The names of arguments that this server does not have."""
    return [name for name, _, _ in _arguments(channel_arguments) if not _is_known(name)]


def _is_known(name: str) -> bool:
    return name in _LIMITS_FIELDS or name == _MAX_MESSAGE_ARGUMENT


def _arguments(channel_arguments: str) -> Iterator[tuple[str, str, str]]:
    """The name, the equals sign (or "") and the value of each argument."""
    return (argument.partition("=") for argument in channel_arguments.split(",") if argument)
