"""Checks of option values that no command can use: hosts, names, and numbers that are not finite."""

from __future__ import annotations

import copy
import math
import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from tfsctl.errors import InvalidInput

if TYPE_CHECKING:
    from tfsctl.cli.usage import click_types

_HOST_AND_PORT = r"(\[[^\]]+\]|[^:/\[\]]+):(\d+)(/.*)?"  # a string: compiled when first used
_MAX_PORT = 65535


def require_finite(parameter: click_types.Parameter) -> None:
    """Have an option of a float refuse nan and infinity, and a number of seconds that is too large to wait for.

    Does nothing for other options.
    """
    if "float" not in parameter.type.name:
        return
    is_duration = parameter.metavar == "SECONDS"
    number = copy.copy(parameter.type)

    def convert(value: object, parameter: click_types.Parameter | None, context: click_types.Context | None) -> float:
        from tfsctl.clients.connection import MAX_TIMEOUT_S  # most commands of servers need no connection

        found = float(type(number).convert(number, value, parameter, context))
        if math.isnan(found) or math.isinf(found):
            raise typer.BadParameter(f"{value} is not a finite number", context, parameter)
        if is_duration and found > MAX_TIMEOUT_S:
            raise typer.BadParameter(f"{value} is more than {MAX_TIMEOUT_S:.0f} seconds", context, parameter)
        return found

    number.convert = convert  # type: ignore[assignment, method-assign] # of this copy
    parameter.type = number


def check_values(host: str | None, names: Mapping[str, str | None]) -> None:
    """Check a host, and other texts by the name of their option. None means that an option was not given.

    Raises InvalidInput for a host that is empty, is a URL or holds a port (names for gRPC such as dns:///name:port are allowed),
    and for text that is not UTF-8.
    """
    for what, text in {**names, "--host": host}.items():
        if text is not None and not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise InvalidInput(f"{what} is not UTF-8 text (at character {error.start + 1})") from error
    if host is None:
        return
    if not host:
        raise InvalidInput("--host is empty", hint="give --host NAME")
    match = re.fullmatch(_HOST_AND_PORT, host)
    is_url = host.lower().startswith(("http://", "https://"))
    if is_url or (match is not None and match[3]):
        raise InvalidInput("--host takes a host name, not a URL", hint=_url_hint(host if is_url else f"http://{host}"))
    if match is not None:
        port = match[2] if 0 < int(match[2]) <= _MAX_PORT else f"PORT, from 1 to {_MAX_PORT}"
        raise InvalidInput(f"--host {host} contains a port", hint=f"use --host {shlex.quote(match[1])} --port {port}")


def _url_hint(url: str) -> str:
    """How to give a URL, or a host and a port if `--url` would refuse it. The hint never repeats a password."""
    from tfsctl.inputs.server_url import parse_server_url

    try:
        parse_server_url(url)
    except InvalidInput:
        return "give --host NAME and --port PORT"
    return f"use --url {shlex.quote(url)}"
