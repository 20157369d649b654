"""The states of a model's versions as a GetModelStatusResponse message, which both protocols answer with."""

from __future__ import annotations

from collections.abc import Sequence

from tfsctl.core import protos
from tfsctl.core.types import VersionStatus
from tfsctl.server.status import Code


def fill_status(response: protos.GetModelStatusResponse, statuses: Sequence[VersionStatus]) -> None:
    """Write the states of versions into a GetModelStatusResponse message."""
    for status in statuses:
        entry = response.model_version_status.add(version=status.version, state=status.state)
        entry.status.error_code = Code[status.error_code]
        message = status.error_message.encode("utf-8", "surrogateescape")  # TensorFlow's may be no UTF-8
        entry.status.error_message = message.decode("utf-8", "replace")
