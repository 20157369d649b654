"""gRPC's framing over HTTP/2: messages in and out of their frames, request headers, and the status in the trailers.

Format: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md. A message is preceded by a byte that says whether
it is compressed and by four bytes with its length.
"""

from __future__ import annotations

import logging
import re
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from tfsctl.server.gzip_bodies import decompress
from tfsctl.server.http.exchange import Pairs
from tfsctl.server.limits import MAX_UNCOMPRESSED_BYTES
from tfsctl.server.request_body import GRPC_PREFIX_BYTES
from tfsctl.server.status import Code, ServingError

log = logging.getLogger(__name__)

RESPONSE_HEADERS: Pairs = (
    (b"content-type", b"application/grpc"),
    (b"grpc-accept-encoding", b"identity, deflate, gzip"),
)
_DEADLINE_EXCEEDED = "Deadline Exceeded"
_MAX_STATUS_CHARACTERS = 1024  # the real server cuts its messages there, so that they fit a header
_PRINTABLE = " !\"#$&'()*+,-./:;<=>?@[]^_`{|}~\\"  # the characters that grpc-message carries without percent-encoding
BAD_MESSAGE = "Failed to parse the request message"
"""The status message of a call whose message is not valid."""
TIMEOUT = b"grpc-timeout"
"""The header of a call's deadline."""
_CONTENT_TYPE = re.compile(rb"application/grpc(\+proto)?[ \t]*(;.*)?", re.IGNORECASE)
_TIMEOUT_VALUE = re.compile(rb"(\d{1,8})([HMSmun])")
_UNIT_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_WINDOW_BITS = {b"gzip": zlib.MAX_WBITS | 16, b"deflate": zlib.MAX_WBITS}


@dataclass(slots=True)
class GrpcResponse:
    """The response to a call: the framed message (empty unless OK), and the status for the trailers."""

    body: bytes
    code: Code = Code.OK
    message: str = ""

    @property
    def trailers(self) -> Pairs:
        """`grpc-status`, and `grpc-message` if there is a message, percent-encoded."""
        status = (b"grpc-status", b"%d" % self.code)
        if not self.message:
            return (status,)
        return status, (b"grpc-message", quote(self.message, safe=_PRINTABLE, errors="surrogateescape").encode())


def failure(code: Code, message: str) -> GrpcResponse:
    """The response to a call that failed. A long message is truncated as the real server truncates it."""
    if len(message) > _MAX_STATUS_CHARACTERS:
        message = message[:_MAX_STATUS_CHARACTERS] + "...TRUNCATED"
    return GrpcResponse(b"", code, message)


def error_response(error: BaseException, path: str) -> GrpcResponse:
    """The response to a call that ended with an exception. Bugs are logged: they get a status, not a broken stream."""
    if not isinstance(error, ServingError):
        log.error("Call failed: %s", path, exc_info=error)
        return failure(Code.INTERNAL, f"{type(error).__name__}: {error}")
    # Clients report this message when their own timer fires first.
    return failure(error.code, _DEADLINE_EXCEEDED if error.code is Code.DEADLINE_EXCEEDED else error.message)


def is_grpc(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request's content type is gRPC with protobuf messages."""
    content_type = headers.get(b"content-type", b"")
    return content_type == b"application/grpc" or _CONTENT_TYPE.fullmatch(content_type) is not None


def read_deadline(headers: Mapping[bytes, bytes]) -> float | None:
    """The deadline of a call, in seconds on the clock of `time.monotonic`; None for no deadline.

    Raises INTERNAL for a malformed `grpc-timeout`.
    """
    timeout = headers.get(TIMEOUT)
    if timeout is None:
        return None
    match = _TIMEOUT_VALUE.fullmatch(timeout)
    if match is None:
        raise ServingError(Code.INTERNAL, f"Malformed grpc-timeout: {timeout.decode('latin-1')!r}")
    return time.monotonic() + int(match[1]) * _UNIT_S[match[2]]


def frame(message: bytes) -> bytes:
    """A message in its frame, not compressed."""
    return frame_prefix(len(message)) + message


def frame_prefix(size: int) -> bytes:
    """The prefix of a message of `size` bytes that is not compressed."""
    return b"\0" + size.to_bytes(4, "big")


def unframe(headers: Mapping[bytes, bytes], body: bytes, limit: int = MAX_UNCOMPRESSED_BYTES) -> bytes:
    """The one message of a request body, decompressed.

    Raises INTERNAL if the body is not exactly one message or cannot be decompressed, UNIMPLEMENTED for an unknown
    compression, RESOURCE_EXHAUSTED if the message has more than `limit` bytes when decompressed.
    """
    check_frame(body)
    if body[0]:
        return _decompress(headers, body[0], memoryview(body)[GRPC_PREFIX_BYTES:], limit)
    return body[GRPC_PREFIX_BYTES:]


def plain_message(body: bytes) -> bytes | None:
    """The one message of a request body; None if it is compressed. Raises INTERNAL unless it is exactly one."""
    if len(body) - GRPC_PREFIX_BYTES != int.from_bytes(body[1:GRPC_PREFIX_BYTES], "big"):
        check_frame(body)
    return None if body[0] else body[GRPC_PREFIX_BYTES:]


def check_frame(body: bytes) -> None:
    """Check that a request body is exactly one message in its frame. Raises INTERNAL."""
    size = GRPC_PREFIX_BYTES + int.from_bytes(body[1:GRPC_PREFIX_BYTES], "big")
    if len(body) < size:
        raise ServingError(Code.INTERNAL, "The request ended before its message")
    if len(body) > size:
        raise ServingError(Code.INTERNAL, "The request of a unary call has more than one message")


def is_compressed(body: bytes) -> bool:
    """Whether the first message of a request body is compressed."""
    return body[:1] not in (b"", b"\0")


def _decompress(headers: Mapping[bytes, bytes], flag: int, message: memoryview, limit: int) -> bytes:
    """The message, decompressed by the `grpc-encoding` of the call. Raises as `unframe` does."""
    encoding = headers.get(b"grpc-encoding", b"identity")
    if flag != 1 or encoding == b"identity":
        raise ServingError(
            Code.INTERNAL, f"The message has compression flag {flag} and encoding {encoding.decode('latin-1')}"
        )
    window_bits = _WINDOW_BITS.get(encoding)
    if window_bits is None:
        raise ServingError(Code.UNIMPLEMENTED, f"Compression {encoding.decode('latin-1')} is not supported")
    try:
        plain, is_whole = decompress(message, window_bits, limit)
    except zlib.error:
        raise ServingError(Code.INTERNAL, "The compressed message cannot be unpacked") from None
    if is_whole:
        return plain
    if len(plain) < limit:
        raise ServingError(Code.INTERNAL, "The compressed message is truncated")
    raise ServingError(Code.RESOURCE_EXHAUSTED, f"The message unpacks to more than {limit} bytes")
