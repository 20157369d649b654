"""The parsed head of a request, and the rules for its parts that HTTP/1 and HTTP/2 share (RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

MAX_LENGTH_DIGITS = 18  # of a Content-Length: what fits an int64 whatever the digits are

is_method = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
"""Whether bytes are a method (a token)."""
is_target = re.compile(rb"[^\x00-\x20\x7f]+").fullmatch
"""Whether bytes may be a request target: no blanks and no control characters; anything else is left to the API."""
is_host = re.compile(rb"[^\x00-\x20\x7f/?#@]*").fullmatch
"""Whether bytes may be the value of :authority: no user name, no path. gRPC clients may list several addresses in it."""
is_host_and_port = re.compile(
    rb"(?:\[[0-9A-Za-z:.%_~-]+\]|(?:[0-9A-Za-z\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*)(?::[0-9]*)?"
).fullmatch
"""Whether bytes may be the value of Host in HTTP/1: a name or an address, and perhaps a port (RFC 9112, section 3.2)."""
is_scheme = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*").fullmatch


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The head of one request.

    Attributes:
        method: GET, POST, …
        target: the path with its query string, as it was sent.
        headers: the header fields, names in lower case; of a name that occurs twice the last value.
        length: the Content-Length, or None.
        is_chunked: whether the body is chunked (HTTP/1.1).
        keeps_alive: whether another request may follow on the connection (HTTP/1).
        is_http_1_0: whether the client speaks HTTP/1.0.
    """

    method: str
    target: str
    headers: Mapping[bytes, bytes]
    length: int | None = None
    is_chunked: bool = False
    keeps_alive: bool = True
    is_http_1_0: bool = False
