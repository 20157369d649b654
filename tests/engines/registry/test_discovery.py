"""Servers that are found without a record, by the environment variable of their process."""

from __future__ import annotations

import json
import subprocess
import sys

from tfsctl.engines import state_dir
from tfsctl.engines.process import discovery_variable
from tfsctl.engines.registry import discovery
from tfsctl.engines.server_record import ServerRecord
from tfsctl.server.lifecycle.version_checks import JOB_VARIABLE


def found_with(**variables: str) -> list[str]:
    """The names of the servers that are found while a process with these variables and the mark of `m` runs."""
    record = ServerRecord("m", "embedded", "127.0.0.1", 1, 2, ("m",), None, None, 0.0, None)
    environment = discovery_variable.build(record, {}) | variables
    assert json.loads(environment[discovery_variable.VARIABLE])["state"] == str(state_dir.base())
    waiting = "print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", waiting],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        return [server.record.name for server in discovery.processes()]


def test_a_process_with_the_mark_is_a_server() -> None:
    """The record is missing if tfsctl was killed before it wrote it."""
    assert found_with() == ["m"]


def test_a_version_check_is_no_server() -> None:
    """It inherits the mark of the embedded server that started it, and leads a session too."""
    assert discovery.VERSION_CHECK == JOB_VARIABLE
    assert found_with(**{JOB_VARIABLE: "{}"}) == []
