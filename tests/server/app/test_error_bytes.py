"""Error messages with NUL bytes and bytes that are not UTF-8, in every place that shows them."""

from __future__ import annotations

import io

from tfsctl.core import protos
from tfsctl.core.types import VersionStatus
from tfsctl.server.grpc import framing
from tfsctl.server.lifecycle.status_message import fill_status
from tfsctl.server.process.logs import write_line
from tfsctl.server.rest.json import answer
from tfsctl.server.status import Code

MESSAGE = b"bad \xff\0 value".decode("utf-8", "surrogateescape")


def test_rest_and_grpc_send_the_bytes() -> None:
    """As the real server does; JSON escapes the NUL."""
    assert answer.error(MESSAGE) == b'{\n    "error": "bad \xff\\u0000 value"\n}'
    assert framing.failure(Code.INTERNAL, MESSAGE).trailers[1] == (b"grpc-message", b"bad %FF%00 value")


def test_a_status_message_is_text() -> None:
    """A protobuf string must be UTF-8."""
    response = protos.GetModelStatusResponse()
    fill_status(response, [VersionStatus(1, "END", "INTERNAL", MESSAGE)])

    assert response.model_version_status[0].status.error_message == "bad \ufffd\0 value"


def test_a_log_line_is_written() -> None:
    """With the byte and the control character escaped."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="utf-8", errors="strict")
    write_line(stream, MESSAGE)

    assert raw.getvalue() == b"bad \\udcff\\u0000 value\n"
