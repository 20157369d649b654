"""Which header fields a proxy forwards, and how they become the metadata of a gRPC call and back."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping

from tfsctl.server.http.exchange import Pairs

HOP_BY_HOP = {
    *("connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "proxy-connection", "te"),
    *("trailer", "transfer-encoding", "upgrade"),
}
"""Header fields that describe one connection or message on it, and are not forwarded."""
_SET_BY_GRPC = {"content-type", "user-agent"}


def call_metadata(headers: Mapping[bytes, bytes]) -> list[tuple[str, str | bytes]]:
    """The metadata of a call, without the header fields of the connection and those that gRPC itself sets."""
    found: list[tuple[str, str | bytes]] = []
    for raw_name, raw in headers.items():
        name = raw_name.decode("latin-1")
        if name in HOP_BY_HOP or name in _SET_BY_GRPC or name.startswith(("grpc-", ":")):
            continue
        found.append((name, base64.b64decode(raw + b"==") if name.endswith("-bin") else raw.decode("latin-1")))
    return found


def answer_headers(metadata: Iterable[tuple[str, str | bytes]] | None) -> Pairs:
    """Metadata of an answer as header fields."""
    found = []
    for name, value in metadata or ():
        if name in _SET_BY_GRPC or name.startswith("grpc-"):
            continue
        data = value if isinstance(value, bytes) else value.encode()
        found.append((name.encode(), base64.b64encode(data).rstrip(b"=") if name.endswith("-bin") else data))
    return tuple(found)
