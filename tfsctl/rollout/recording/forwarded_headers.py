"""Which header fields a proxy forwards, and how they become the metadata of a gRPC call and back."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping

from tfsctl.server.http.exchange import Pairs

OF_CONNECTION = {
    *("connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "proxy-connection", "te"),
    *("trailer", "transfer-encoding", "upgrade"),
}
"""Header fields of one connection, which are not forwarded."""
_OF_GRPC = {"content-type", "user-agent"}


def call_metadata(headers: Mapping[bytes, bytes]) -> list[tuple[str, str | bytes]]:
    """The metadata of a call, without what belongs to the connection or to gRPC itself."""
    found: list[tuple[str, str | bytes]] = []
    for raw_name, raw in headers.items():
        name = raw_name.decode("latin-1")
        if name in OF_CONNECTION or name in _OF_GRPC or name.startswith(("grpc-", ":")):
            continue
        found.append((name, base64.b64decode(raw + b"==") if name.endswith("-bin") else raw.decode("latin-1")))
    return found


def answer_headers(metadata: Iterable[tuple[str, str | bytes]] | None) -> Pairs:
    """Metadata of an answer as header fields."""
    found = []
    for name, value in metadata or ():
        if name in _OF_GRPC or name.startswith("grpc-"):
            continue
        data = value if isinstance(value, bytes) else value.encode()
        found.append((name.encode(), base64.b64encode(data).rstrip(b"=") if name.endswith("-bin") else data))
    return tuple(found)
