"""The environment variable by which a server process is recognised, also if it has no record.

If tfsctl is killed between starting a server and writing its record, only this variable tells what the process is.
The value is JSON: `state` (the state directory), `server` (the fields of ServerRecord) and `launch` (LaunchSpec).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tfsctl.engines import state_dir
from tfsctl.engines.server_record import ServerRecord

VARIABLE = "TFSCTL_SERVER_MARK"


def build(record: ServerRecord, launch: Mapping[str, Any]) -> dict[str, str]:
    """The variable for a process that is about to be started. Its process id is not known yet."""
    value = {"state": str(state_dir.base()), "server": record.to_document(), "launch": launch}
    return {VARIABLE: json.dumps(value)}


def parse(value: str, *, pid: int) -> tuple[ServerRecord, Mapping[str, Any] | None] | None:
    """The record and the launch document in the variable of a process.

    None if the server belongs to another state directory, or if another version of tfsctl wrote the value.
    """
    try:
        document = json.loads(value)
        if document["state"] != str(state_dir.base()):
            return None
        fields = document["server"]
        return ServerRecord.from_document({**fields, "pid": pid}), document["launch"]
    except (RecursionError, ValueError, KeyError, TypeError):
        return None
