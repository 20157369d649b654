"""Error messages with NUL bytes and bytes that are not UTF-8, in every place that shows them."""

from __future__ import annotations

import io

from tfsctl.core import protos
from tfsctl.core.types import VersionStatus
from tfsctl.server.grpc import framing
from tfsctl.server.lifecycle.status_message import fill_status
from tfsctl.server.process.logs import write_line
from tfsctl.server.rest.json import results
from tfsctl.server.status import Code

MESSAGE = b"bad \xff\0 value".decode("utf-8", "surrogateescape")


def test_error_messages_keep_their_bytes_over_rest_and_grpc() -> None:
    """As in the real server; JSON escapes the NUL byte."""
    assert results.error(MESSAGE) == b'{\n    "error": "bad \xff\\u0000 value"\n}'
    assert framing.failure(Code.INTERNAL, MESSAGE).trailers[1] == (b"grpc-message", b"bad %FF%00 value")


def test_invalid_utf8_is_replaced_in_status_messages() -> None:
    """A protobuf string must be UTF-8."""
    response = protos.GetModelStatusResponse()
    fill_status(response, [VersionStatus(1, "END", "INTERNAL", MESSAGE)])

    assert response.model_version_status[0].status.error_message == "bad \ufffd\0 value"


def test_invalid_utf8_and_controls_are_escaped_in_the_log() -> None:
    """The byte and the control character are escaped."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8", errors="strict")
    write_line(stream, MESSAGE)

    assert raw.getvalue() == b"bad \\udcff\\u0000 value\n"
