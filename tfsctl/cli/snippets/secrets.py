"""Replace the secrets of a request by environment variables, so that a printed request holds none."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import urlsplit

from tfsctl.clients.captured_request import CapturedRequest
from tfsctl.clients.connection import Header
from tfsctl.errors import InvalidInput

_SECRET = re.compile(r"auth|token|key|secret|password|cookie|credential|session", re.IGNORECASE)


def without_secrets(request: CapturedRequest) -> tuple[CapturedRequest, dict[str, str]]:
    """Return the request without secrets, and for each variable that the user must set a description of its value.

    Raises InvalidInput for a proxy URL with a password, because no program reads that from a variable.
    """
    proxy = request.connection.proxy
    if proxy is not None and urlsplit(proxy).username is not None:
        raise InvalidInput("--proxy holds a name or password, which is not shown", hint="remove it from the URL")
    unset: dict[str, str] = {}
    headers = []
    for header in request.connection.headers:
        if header.variable or not _SECRET.search(header.name):
            headers.append(header)
            continue
        variable = re.sub(r"\W", "_", header.name).upper()
        headers.append(Header(header.name, header.value, variable))
        unset[variable] = f"the value of {header.name}"
    return replace(request, connection=replace(request.connection, headers=tuple(headers))), unset
