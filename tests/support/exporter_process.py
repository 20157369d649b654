"""A process that has TensorFlow loaded and runs one `tfsctl` command line after another.

Read from stdin, a JSON line each: {"argv": [...], "cwd": "..."}. Written to stdout: {"code", "stdout", "stderr"}, as
they arrived at the file descriptors.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile

from tfsctl.cli import main


def run(argv: list[str]) -> dict[str, object]:
    """Run one command line with descriptors 1 and 2 led to files."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        os.dup2(stdout.fileno(), 1)
        os.dup2(stderr.fileno(), 2)
        code = main(argv)
        sys.stdout.flush()
        sys.stderr.flush()
        stdout.seek(0)
        stderr.seek(0)
        return {"code": code, "stdout": stdout.read().decode(), "stderr": stderr.read().decode()}


def run_all() -> None:
    """Run command lines until stdin is closed."""
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for line in requests:
        request = json.loads(line)
        os.chdir(request["cwd"])
        print(json.dumps(run(request["argv"])), file=answers, flush=True)
