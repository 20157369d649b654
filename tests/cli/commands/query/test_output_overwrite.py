"""`--output` never replaces a file that the command reads, and `sample --output` replaces none without --force."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_runner import RunCli
from model_servers import Served

ROWS = "x\n1\n2\n"

Spelling = Callable[[Path], Path]


def same_path(path: Path) -> Path:
    """The path itself."""
    return path


def dotted_path(path: Path) -> Path:
    """The path with `./` and `..` in it."""
    return Path(f"{path.parent}/./x/../{path.name}")


def symbolic_link(path: Path) -> Path:
    """A symbolic link to the file, in a folder of its own."""
    link = path.parent / "x" / "symbolic.csv"
    link.symlink_to(path)
    return link


def hard_link(path: Path) -> Path:
    """A hard link to the file, in a folder of its own."""
    link = path.parent / "x" / "hard.csv"
    os.link(path, link)
    return link


def relative_path(path: Path) -> Path:
    """The path from the current directory."""
    return Path(os.path.relpath(path))


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A CSV file."""
    (tmp_path / "x").mkdir()
    file = tmp_path / "in.csv"
    file.write_text(ROWS)
    return file


@pytest.mark.parametrize("spelling", [same_path, dotted_path, symbolic_link, hard_link, relative_path])
def test_output_is_not_the_input(run_cli: RunCli, rows: Path, spelling: Spelling) -> None:
    """Whatever path leads to it; the file stays as it was, and no server is needed to refuse it."""
    result = run_cli("predict", "--model", "m", "--file", rows, "--output", spelling(rows))

    assert (result.code, result.stdout) == (2, "")
    assert "would overwrite" in result.stderr
    assert result.stderr.endswith("hint: use another --output\n")
    assert rows.read_text() == ROWS
    assert list(rows.parent.glob("*.partial*")) == []


@pytest.mark.parametrize("suffix", ["rejects.jsonl", "partial", "progress"])
def test_output_side_files_are_not_the_input(run_cli: RunCli, tmp_path: Path, suffix: str) -> None:
    """The rejects of an earlier run are a natural input, and the next run would delete them first."""
    file = tmp_path / f"out.csv.{suffix}"
    file.write_text('{"x": 1}\n')

    result = run_cli("predict", "--model", "m", "--file", file, "--format", "jsonl", "--output", tmp_path / "out.csv")

    assert (result.code, file.read_text()) == (2, '{"x": 1}\n')
    assert f"would overwrite {file}" in result.stderr


@pytest.mark.parametrize("option", ["--labels", "--ca", "--cert", "-i"])
def test_output_is_no_other_file_that_is_read(run_cli: RunCli, tmp_path: Path, option: str) -> None:
    """Labels, certificates and the files of named inputs."""
    file = tmp_path / "data.jsonl"
    file.write_text("a\nb\n")
    value = f"x=@{file}" if option == "-i" else file
    typed = () if option == "-i" else ("1",)

    result = run_cli("predict", "--model", "m", *typed, option, value, "--output", file)

    assert (result.code, file.read_text()) == (2, "a\nb\n")
    assert "would overwrite" in result.stderr


def test_output_is_not_the_redirected_stdin(rows: Path) -> None:
    """`tfsctl predict --file - --output in.csv < in.csv`."""
    argv = [sys.executable, "-m", "tfsctl", "predict", "--model", "m", "--file", "-", "--format", "csv"]
    with rows.open("rb") as stdin:
        done = subprocess.run(
            [*argv, "--output", str(rows)], stdin=stdin, capture_output=True, text=True, timeout=240, check=False
        )

    assert (done.returncode, rows.read_text()) == (2, ROWS)
    assert "which is the input stdin" in done.stderr


def test_stdout_is_not_the_input(served: Served, rows: Path) -> None:
    """`tfsctl predict --file in.csv >> in.csv` would read its own answers for ever."""
    argv = [sys.executable, "-m", "tfsctl", "predict", "--model", "half_plus_two", "--host", served.host]
    with rows.open("ab") as stdout:
        done = subprocess.run(
            [*argv, "--port", str(served.rest_port), "--file", str(rows)],
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            timeout=240,
            check=False,
        )

    assert (done.returncode, rows.read_text()) == (2, ROWS)
    assert f"the output goes to {rows}, which is the input" in done.stderr


def test_another_output_file_is_replaced(served: Served, run_cli: RunCli, rows: Path, tmp_path: Path) -> None:
    """The results of an earlier run are not an input."""
    output = tmp_path / "out.csv"
    output.write_text("old\n")
    address = ("--host", served.host, "--port", served.rest_port, "--model", "half_plus_two")

    assert run_cli("predict", *address, "--file", rows, "--output", output).code == 0

    assert output.read_text() == "y\n2.5\n3.0\n"


def test_sample_does_not_overwrite(run_cli: RunCli, echo_dir: Path, tmp_path: Path) -> None:
    """A file that exists, a link to one included, is replaced with --force only."""
    file, link = tmp_path / "request.json", tmp_path / "link.json"
    file.write_text("precious")
    link.symlink_to(file)

    for path in (file, link):
        refused = run_cli("sample", echo_dir, "--output", path)
        assert (refused.code, refused.stdout) == (2, "")
        assert refused.stderr == f"error: {path} already exists\nhint: add --force to overwrite it\n"
        assert file.read_text() == "precious"

    assert run_cli("sample", echo_dir, "--output", file, "--force").code == 0
    assert file.read_text() == '{"instances": [1.0]}\n'


def test_sample_writes_to_devices(run_cli: RunCli, echo_dir: Path) -> None:
    """Devices such as /dev/null may be overwritten: they hold no data."""
    assert run_cli("sample", echo_dir, "--output", "/dev/null").code == 0


def test_output_of_an_interrupted_run_is_kept(run_cli: RunCli, tmp_path: Path) -> None:
    """Typed rows would overwrite its partial results."""
    partial = tmp_path / "out.csv.partial"
    partial.write_text("y\n1\n")
    (tmp_path / "out.csv.progress").write_text(
        '{"about": {}, "through": 1, "rows": 1, "rejects": 0, "files": {"out.csv.partial": 4}}'
    )

    result = run_cli("predict", "--model", "m", "1", "--output", tmp_path / "out.csv")

    assert (result.code, partial.read_text()) == (2, "y\n1\n")
    assert f"an earlier run for {tmp_path / 'out.csv'} ended after 1 rows" in result.stderr
