"""Checks of option values that no server could be queried with: hosts, names and times."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping

from tfsctl.errors import InvalidInput

_MAX_SECONDS = 1e8  # about three years; sockets and locks accept about 1e9
_HOST_AND_PORT = re.compile(r"(\[[^\]]+\]|[^:/\[\]]+):(\d+)")


def check_values(host: str | None, names: Mapping[str, str | None], times: Iterable[float | None]) -> None:
    """Check a host, names by what they are, and times in seconds; None stands for an option that was not given.

    Raises InvalidInput for a host that is a URL or holds a port (names for gRPC such as dns:///name:port are allowed),
    for text that is not UTF-8, and for a time that is no number or too long.
    """
    for what, text in {**names, "--host": host}.items():
        if text is not None and not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise InvalidInput(f"{what} is not UTF-8 text (at character {error.start + 1})") from error
    for seconds in times:
        if seconds is not None and not seconds <= _MAX_SECONDS:
            raise InvalidInput(
                f"{seconds:g} is not a valid number of seconds", hint="use a number up to 100000000, e.g. --timeout 60"
            )
    if host is None:
        return
    if host.startswith(("http://", "https://")):
        raise InvalidInput("--host takes a host name, not a URL", hint=f"use --url {shlex.quote(host)}")
    match = _HOST_AND_PORT.fullmatch(host)
    if match is not None:
        raise InvalidInput(
            f"--host {host} contains a port", hint=f"use --host {shlex.quote(match[1])} --port {match[2]}"
        )
