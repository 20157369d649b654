"""`tfsctl predict --file`: outputs that take no more, that are empty, or were complete already."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import RunCli
from model_servers import Served, clean_environment


def options(server: Served) -> list[object]:
    return ["predict", "--grpc", "--host", server.host, "--port", server.grpc_port, "--model", "echo"]


def test_a_full_disk_below_stdout(served: Served, tmp_path: Path) -> None:
    """One line says so, for typed rows and for those of a file; `| head` ends quietly."""
    ones = tmp_path / "ones.csv"
    ones.write_text("x\n" + "1\n" * 300)
    asked = [sys.executable, "-m", "tfsctl", *map(str, options(served))]
    for rows in (["1"], ["1", "--json"], ["--file", str(ones)]):
        argv = ["bash", "-c", 'exec "$@" > /dev/full', "-", *asked, *rows]
        full = subprocess.run(argv, env=clean_environment(tmp_path), capture_output=True, text=True, check=False)
        assert (full.returncode, full.stderr) == (1, "error: cannot write the answer: No space left on device\n")

    head = ["bash", "-c", 'set -o pipefail; "$@" | head -1', "-", *asked, "--file", str(ones), "--batch-size", "1"]
    closed = subprocess.run(head, env=clean_environment(tmp_path), capture_output=True, text=True, check=False)
    assert (closed.returncode, closed.stderr) == (0, "")


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.npy", "out.npz"])
def test_a_file_without_rows(served: Served, tmp_path: Path, run_cli: RunCli, name: str) -> None:
    """The output is there all the same, and says what would be in it."""
    (tmp_path / "in.csv").write_text("x\n")

    asked = run_cli(*options(served), "--file", tmp_path / "in.csv", "--output", tmp_path / name)

    assert asked.code == 0, asked.stderr
    if name.endswith(("csv", "jsonl")):
        assert (tmp_path / name).read_text() == ("x\n" if name.endswith("csv") else "")
    else:
        found = np.load(tmp_path / name)
        array = found if name.endswith("npy") else found["x"]
        assert (array.shape, array.dtype) == ((0,), np.float32)


def test_a_run_killed_after_it_was_complete(served: Served, tmp_path: Path, run_cli: RunCli) -> None:
    """Its marks are still there, the files they are of are not: nothing stands in the way of another run."""
    (tmp_path / "in.csv").write_text("x\n1\n")
    asked = [*options(served), "--file", tmp_path / "in.csv", "--output", tmp_path / "out.csv"]
    mark = {"about": {}, "through": 1, "rows": 1, "rejects": 0, "files": {"out.csv.partial": 6}}
    for resume in ([], ["--resume"]):
        (tmp_path / "out.csv.progress").write_text(json.dumps(mark))
        shown = run_cli(*asked, *resume)
        assert shown.code == 0, shown.stderr
        assert (tmp_path / "out.csv").read_text() == "x\n1.0\n"
        assert not (tmp_path / "out.csv.progress").exists()
