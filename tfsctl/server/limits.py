"""Every limit on what clients may send, hold and wait for, with its default and the reason for it.

`docs/security-and-limits.md` lists the flag of each limit and what a client sees when it is reached. Look here to
change a default; look in the module that enforces a limit to change what happens.
"""

from __future__ import annotations

from dataclasses import dataclass

from tfsctl.server.process.resources import memory_limit_bytes

KIB, MIB = 1024, 1024 * 1024
MAX_MESSAGE_BYTES = 2**31 - 1
"""gRPC's largest message; TensorFlow Serving has no lower limit."""
MAX_UNCOMPRESSED_BYTES = 100 * MIB
"""kMaxUncompressedBytes of TensorFlow Serving's HTTP server: the largest a gzip body may become."""
MAX_DEFLATE_RATIO = 1032
"""No byte of a compressed body can expand to more than that."""

_MEMORY_SHARE = 1 / 256
_MIN_HELD_BYTES = 64 * MIB


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one address. Times are in seconds; None means no limit."""

    max_header_bytes: int = 64 * KIB
    """Names and values of one request's header fields, request line included. Envoy allows 60 KiB, gRPC clients send 16;
    Python decodes a Huffman-coded header block of this size in some 12 ms."""
    max_header_count: int = 256
    """Header fields of one request. Proxies add a dozen; Envoy allows 100."""
    max_connections_per_peer: int = 10_000
    """Connections from one IP address. High, since a proxy or a NAT gateway is one address."""
    max_streams: int = 4096
    """Concurrent HTTP/2 streams on one connection."""
    max_requests_per_connection: int | None = None
    """After that many requests the connection is closed, so that load balancers can spread clients again."""
    header_timeout_s: float | None = 30.0
    """From the first byte of a connection or a request to the end of its header section."""
    body_grace_s: float | None = 30.0
    """A body may take that long however slowly it arrives; after that it has to arrive at `body_bytes_per_s`."""
    body_bytes_per_s: int = 16 * KIB
    write_stall_timeout_s: float | None = 60.0
    """How long a client may read nothing of an answer that waits for it."""
    max_age_s: float | None = None
    """grpc.max_connection_age_ms."""
    max_idle_s: float | None = 3600.0
    """grpc.max_connection_idle_ms: how long a connection without a request is kept."""
    keepalive_s: float | None = None
    """grpc.keepalive_time_ms: after that much silence an HTTP/2 client is sent a PING."""
    keepalive_timeout_s: float = 20.0
    """grpc.keepalive_timeout_ms: how long the answer to that PING may take."""

    cache_requests: bool = True
    """Whether parsed heads of requests are kept for equal ones; --disable_request_optimizations turns that off."""

    def check_interval_s(self) -> float:
        """How often the timeouts of connections should be checked."""
        times = [self.max_age_s, self.max_idle_s, self.keepalive_s, self.header_timeout_s, self.body_grace_s]
        times += [self.write_stall_timeout_s, self.keepalive_timeout_s if self.keepalive_s is not None else None]
        return max(0.02, min(10.0, *(time / 4 for time in times if time is not None), 10.0))


def default_held_bytes() -> int:
    """How many bytes may be held for all clients together: 1/256 of the memory, at least 64 MiB.

    That is little on purpose: these bytes are copied several times on their way through the model, and the limit has
    to hold while the models themselves need the memory.
    """
    return max(_MIN_HELD_BYTES, int(memory_limit_bytes() * _MEMORY_SHARE))
