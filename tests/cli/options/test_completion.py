"""Shell completion, called as the script of the shell calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from model_servers import Served, clean_environment

from tfsctl.engines.server_record import ServerRecord


def completed(line: str, folder: Path, **environment: str) -> list[str]:
    """The completions of the last word of a command line in bash."""
    variables = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_TFSCTL_COMPLETE": "complete_bash"}
    done = subprocess.run(
        [sys.executable, "-c", "from tfsctl.cli import main; raise SystemExit(main())"],
        env=clean_environment(folder) | environment | variables,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("tfsctl pre", ["predict"]),
        ("tfsctl predict --show ", ["curl", "http", "python", "grpcurl"]),
        ("tfsctl predict --model ec", ["echo"]),
        ("tfsctl wait half", ["half_plus_two"]),
        ("tfsctl stop ", ["test"]),
        ("tfsctl classify --model half_plus_two --signature cl", ["classify_x_to_y"]),
        ("tfsctl predict --model none --signature ", []),
    ],
)
def test_completes_servers_models_and_signatures(
    registered: ServerRecord, tmp_path: Path, line: str, words: list[str]
) -> None:
    """If nothing can be found, there are no completions and no message."""
    assert registered.models
    assert completed(line, tmp_path, TFSCTL_STATE_DIR=os.environ["TFSCTL_STATE_DIR"]) == words


def test_completes_signatures_of_an_addressed_server(served: Served, tmp_path: Path) -> None:
    """--host and --port reach a server that tfsctl did not start."""
    line = f"tfsctl predict --host {served.host} --port {served.rest_port} --model echo --signature tex"
    assert completed(line, tmp_path) == ["text", "text_bytes", "text_column"]
