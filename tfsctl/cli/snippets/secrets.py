"""Secrets of a call, replaced by the variables that hold them: what is shown is no place for them."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import urlsplit

from tfsctl.clients.captured_request import CapturedRequest
from tfsctl.clients.connection import Header
from tfsctl.errors import InvalidInput

_SECRET = re.compile(r"auth|token|key|secret|password|cookie|credential|session", re.IGNORECASE)


def without_secrets(call: CapturedRequest) -> tuple[CapturedRequest, dict[str, str]]:
    """The call with every secret left to a variable, and what each variable has to hold that is not set yet.

    Raises InvalidInput for a proxy with a name or password: no program takes that from a variable.
    """
    proxy = call.connection.proxy
    if proxy is not None and urlsplit(proxy).username is not None:
        raise InvalidInput("--proxy holds a name or password, which is not shown", hint="leave it out of the URL")
    unset: dict[str, str] = {}
    headers = []
    for header in call.connection.headers:
        if header.variable or not _SECRET.search(header.name):
            headers.append(header)
            continue
        variable = re.sub(r"\W", "_", header.name).upper()
        headers.append(Header(header.name, header.value, variable))
        unset[variable] = f"the value of {header.name}"
    return replace(call, connection=replace(call.connection, headers=tuple(headers))), unset
