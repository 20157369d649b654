"""`tfsctl predict --file`: outputs on a full disk, without rows, and of a run that was already complete."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_runner import RunCli
from model_servers import Served, clean_environment


def options(server: Served) -> list[object]:
    return ["predict", "--grpc", "--host", server.host, "--port", server.grpc_port, "--model", "echo"]


def test_full_disk_on_stdout(served: Served, tmp_path: Path) -> None:
    """One error with its cause, for typed rows and for rows of a file; with `| head`, there is no error."""
    ones = tmp_path / "ones.csv"
    ones.write_text("x\n" + "1\n" * 300)
    command = [sys.executable, "-m", "tfsctl", *map(str, options(served))]
    for rows in (["1"], ["1", "--json"], ["--file", str(ones)]):
        argv = ["bash", "-c", 'exec "$@" > /dev/full', "-", *command, *rows]
        full = subprocess.run(argv, env=clean_environment(tmp_path), capture_output=True, text=True, check=False)
        error, cause, hint = full.stderr.splitlines()
        assert (full.returncode, error) == (1, "error: cannot write the answer: No space left on device")
        assert (cause, hint[:11]) == ("cause: a disk is full", "hint: `df -")

    head = ["bash", "-c", 'set -o pipefail; "$@" | head -1', "-", *command, "--file", str(ones), "--batch-size", "1"]
    closed = subprocess.run(head, env=clean_environment(tmp_path), capture_output=True, text=True, check=False)
    assert (closed.returncode, closed.stderr) == (0, "")


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.npy", "out.npz"])
def test_a_file_without_rows_gives_an_output_with_its_header(
    served: Served, tmp_path: Path, run_cli: RunCli, name: str
) -> None:
    """The output file exists, and has the names of its columns."""
    (tmp_path / "in.csv").write_text("x\n")

    result = run_cli(*options(served), "--file", tmp_path / "in.csv", "--output", tmp_path / name)

    assert result.code == 0, result.stderr
    if name.endswith(("csv", "jsonl")):
        assert (tmp_path / name).read_text() == ("x\n" if name.endswith("csv") else "")
    else:
        found = np.load(tmp_path / name)
        array = found if name.endswith("npy") else found["x"]
        assert (array.shape, array.dtype) == ((0,), np.float32)


ROWS = "x_0,x_1,x_2\n1,3,2\n0.5,0.25,0.125\n"


@pytest.mark.parametrize(
    ("arguments", "name", "written"),
    [
        (["--labels", "abc.txt"], "out.csv", "x_label,x\nb,3.0\na,0.5\n"),
        (["--top", "1"], "out.tsv", "x_class\tx\n1\t3.0\n0\t0.5\n"),
        (["--top", "2"], "out.csv", 'x_class,x\n"[1,2]","[3.0,2.0]"\n"[0,1]","[0.5,0.25]"\n'),
        (
            ["--labels", "abc.txt", "--top", "2"],
            "out.jsonl",
            '{"x_label": ["b","c"], "x": [3.0,2.0]}\n{"x_label": ["a","b"], "x": [0.5,0.25]}\n',
        ),
    ],
)
def test_highest_classes_of_each_row(
    served: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    run_cli: RunCli,
    arguments: list[str],
    name: str,
    written: str,
) -> None:
    """--top and --labels replace an output by its highest classes, for rows of a file and for typed rows."""
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text(ROWS)
    Path("abc.txt").write_text("a\nb\nc\n")
    base = [*options(served), "--signature", "row", *arguments]

    from_file = run_cli(*base, "--file", "in.csv", "--output", name)
    assert (Path(name).read_text(), from_file.code) == (written, 0), from_file.stderr
    typed = run_cli(*base, "1,3,2", "0.5,0.25,0.125", "--output", f"typed-{name}")
    assert (Path(f"typed-{name}").read_text(), typed.code) == (written, 0), typed.stderr
    printed = run_cli(*base, "--file", "in.csv")
    if "--top" in arguments and name.endswith("tsv"):
        assert printed.stdout == "1\t3.0\n0\t0.5\n"


def test_number_of_labels_must_match(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_cli: RunCli
) -> None:
    """The number of labels must be that of the classes; a file without rows has the same columns."""
    monkeypatch.chdir(tmp_path)
    Path("in.csv").write_text(ROWS)
    Path("two.txt").write_text("a\nb\n")
    command = [*options(served), "--signature", "row", "--file", "in.csv"]
    refused = run_cli(*command, "--labels", "two.txt", "--output", "out.csv")
    assert (refused.code, refused.stderr) == (2, "error: there are 2 labels, but x has 3 classes\n")
    assert not Path("out.csv").exists()

    Path("in.csv").write_text("x_0,x_1,x_2\n")
    assert run_cli(*command, "--top", "1", "--output", "out.csv").code == 0
    assert Path("out.csv").read_text() == "x_class,x\n"


def test_resume_after_a_kill_at_the_end(served: Served, tmp_path: Path, run_cli: RunCli) -> None:
    """The checkpoint is left, but its files are gone, so another run can start."""
    (tmp_path / "in.csv").write_text("x\n1\n")
    command = [*options(served), "--file", tmp_path / "in.csv", "--output", tmp_path / "out.csv"]
    mark = {"about": {}, "through": 1, "rows": 1, "rejects": 0, "files": {"out.csv.partial": 6}}
    for resume in ([], ["--resume"]):
        (tmp_path / "out.csv.progress").write_text(json.dumps(mark))
        shown = run_cli(*command, *resume)
        assert shown.code == 0, shown.stderr
        assert (tmp_path / "out.csv").read_text() == "x\n1.0\n"
        assert not (tmp_path / "out.csv.progress").exists()
