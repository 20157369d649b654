"""`tfsctl predict --file`: formats, options, errors, interruptions and resumed runs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cli_runner import RunCli
from echo_models import Inputs, write_echo_model
from graph_models import write_rows_model
from model_servers import Served, clean_environment, running_server
from PIL import Image
from scale_models import write_scale_model
from waiting import PATIENCE_S

from tfsctl.clients.factory import open_client
from tfsctl.core.types import ModelRef

pytestmark = pytest.mark.server

SLOW_MATRIX = 700  # some milliseconds

# A child's peak memory counts from that of its parent, which must be small.
_PEAK_MB = """
import os, subprocess, sys
process = subprocess.Popen([sys.executable, "-m", "tfsctl", *sys.argv[1:]])
_, status, usage = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
assert process.returncode == 0
print(usage.ru_maxrss / 1024)
"""

# Presses Ctrl-C the given number of times while the arrays are written to one file.
_INTERRUPTED_AT_THE_END = """
import os, shutil, signal, sys
from tfsctl.cli import main
def copy(source, member, size, copy=shutil.copyfileobj):
    for _ in range(int(sys.argv[1])):
        os.kill(os.getpid(), signal.SIGINT)
    copy(source, member, size)
shutil.copyfileobj = copy
sys.exit(main(sys.argv[2:]))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with the model `rows`."""
    folder = tmp_path_factory.mktemp("predict_file")
    write_rows_model(folder / "rows" / "1", slow=SLOW_MATRIX)
    with running_server({"rows": folder / "rows"}, folder) as running:
        yield running


def options(server: Served, model: str, over: str = "grpc") -> list[object]:
    port = server.rest_port if over == "rest" else server.grpc_port
    return ["predict", f"--{over}", "--host", server.host, "--port", port, "--model", model]


@pytest.fixture
def ones(tmp_path: Path) -> Path:
    """300 rows of `x`, 1 to 300."""
    path = tmp_path / "x.csv"
    path.write_text("x\n" + "".join(f"{x}\n" for x in range(1, 301)))
    return path


@pytest.mark.parametrize("over", ["rest", "grpc"])
def test_file_to_file(served: Served, tmp_path: Path, run_cli: RunCli, over: str) -> None:
    """Every row is written in order; stderr has a summary."""
    rows = [(index / 4, f"city {index}, ü") for index in range(2000)]
    (tmp_path / "in.csv").write_text("city,area\n" + "".join(f'"{city}",{area}\n' for area, city in rows))
    command = [*options(served, "echo", over), "--signature", "two"]

    shown = run_cli(*command, "--file", tmp_path / "in.csv", "--output", tmp_path / "out.jsonl")

    assert (shown.code, shown.stdout) == (0, "")
    assert "out.jsonl: 2,000 rows in" in shown.stderr
    answers = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert answers == [{"area": area, "city": city} for area, city in rows]
    assert [path.name for path in tmp_path.glob("out*")] == ["out.jsonl"]


def test_file_to_stdout(server: Served, ones: Path, run_cli: RunCli) -> None:
    """One line per row, or one JSON object per row with --json; --only selects outputs."""
    command = [*options(server, "rows"), "--file", ones, "--batch-size", 100, "--concurrency", 2]

    plain, objects, only = run_cli(*command), run_cli(*command, "--json"), run_cli(*command, "--only", "y")

    assert plain.stdout.splitlines()[:2] == ["100.0\t1.0", "100.0\t2.0"]
    assert json.loads(objects.stdout.splitlines()[299]) == {"rows": 100.0, "y": 300.0}
    assert only.stdout.split() == [f"{x}.0" for x in range(1, 301)]
    assert plain.stderr == ""


def test_stdin_is_streamed(served: Served, run_cli: RunCli) -> None:
    """Lines of text are answered in order."""
    shown = run_cli(*options(served, "echo"), "--signature", "text", "-f", "-", stdin="good\nbad\n")

    assert shown.stdout == "good\nbad\n"


def test_answers_are_streamed_while_stdin_is_open(served: Served, tmp_path: Path) -> None:
    """A program may write a row and wait for its answer, repeatedly."""
    argv = [sys.executable, "-m", "tfsctl", *map(str, options(served, "echo")), "--file", "-", "--format", "jsonl"]
    with subprocess.Popen(argv, env=clean_environment(tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdin is not None
        assert run.stdout is not None
        for x in (1, 2):
            run.stdin.write(b'{"x": %d}\n' % x)
            run.stdin.flush()
            assert run.stdout.readline() == b"%d.0\n" % x
        run.stdin.close()
        assert run.wait(timeout=240) == 0


def test_kept_columns_stand_in_front_of_the_answers(server: Served, tmp_path: Path, run_cli: RunCli) -> None:
    """Kept columns come before the outputs, also for rejected rows; numbers stay numbers."""
    (tmp_path / "in.csv").write_text("id;x;name\n007;1,5;=1+1\n8;0;b\n9;two;c\n10;4;-5\n")
    command = [*options(server, "rows"), "--signature", "checked", "--file", tmp_path / "in.csv", "--keep", "id,name"]
    output = tmp_path / "out.csv"

    shown = run_cli(*command, "--output", output, "--on-error", "skip")
    assert shown.code == 0, shown.stderr
    assert output.read_text() == "row,id,name,y\n1,007,=1+1,0.6666667\n4,10,-5,0.25\n"
    rejects = [json.loads(line) for line in (tmp_path / "out.csv.rejects.jsonl").read_text().splitlines()]
    assert [(one["row"], one["kept"]) for one in rejects] == [
        (2, {"id": "8", "name": "b"}),
        (3, {"id": "9", "name": "c"}),
    ]

    run_cli(*command, "--output", output, "--on-error", "skip", "--safe-csv")
    assert output.read_text() == "row,id,name,y\n1,007,'=1+1,0.6666667\n4,10,-5,0.25\n"
    run_cli(*command, "--output", tmp_path / "out.jsonl", "--on-error", "skip")
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[0]) == {
        "row": 1,
        "id": "007",
        "name": "=1+1",
        "y": 0.6666667,
    }
    clash = run_cli(*command, "--keep", "y", "--output", output, "--on-error", "skip")
    assert (clash.code, "--keep y: in.csv has no such column" in clash.stderr) == (2, True)


def test_kept_columns_of_a_file_without_rows(server: Served, tmp_path: Path, run_cli: RunCli) -> None:
    """The header has the same columns, whether or not there are rows."""
    (tmp_path / "in.csv").write_text("id,x\n")
    command = [*options(server, "rows"), "--signature", "checked", "--file", tmp_path / "in.csv", "--keep", "all"]

    assert run_cli(*command, "--output", tmp_path / "out.csv").code == 0
    assert (tmp_path / "out.csv").read_text() == "id,x,y\n"
    printed = run_cli(*command)
    assert (printed.stdout, printed.stderr, printed.code) == ("", "note: in.csv has no rows\n", 0)


def test_the_hint_after_a_bad_row_works(server: Served, tmp_path: Path, run_cli: RunCli) -> None:
    """Answers are kept for --resume, which refuses another --on-error, so the hint removes them first."""
    (tmp_path / "in.csv").write_text("x\n1\n2\ntwo\n")
    output = tmp_path / "out.csv"
    command = [*options(server, "rows"), "--file", tmp_path / "in.csv", "--output", output]

    stopped = run_cli(*command)
    assert f"hint: rm {output}.progress, then add --on-error skip to skip" in stopped.stderr
    Path(f"{output}.progress").unlink()
    assert run_cli(*command, "--on-error", "skip").code == 0


def test_a_run_with_kept_columns_is_resumed(server: Served, ones: Path, tmp_path: Path) -> None:
    """The remaining rows get their own values; a run with other columns cannot be resumed."""
    run = Run(server, ones, tmp_path / "out.csv", "--keep", "x")
    interrupted = run.start_and_wait_for_a_mark()
    interrupted.send_signal(signal.SIGINT)
    interrupted.communicate(timeout=240)

    other = Run(server, ones, tmp_path / "out.csv").start("--resume")
    assert ": keep changed" in other.communicate(timeout=240)[1]
    resumed = run.resume()
    _, stderr = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, stderr
    assert (tmp_path / "out.csv").read_text() == "x,y\n" + "".join(f"{x},{x}.0\n" for x in range(1, 301))


@pytest.mark.parametrize("name", ["out.csv", "out.npz"])
def test_skipped_rows_are_listed(server: Served, tmp_path: Path, run_cli: RunCli, name: str) -> None:
    """Rejected rows are listed with their reason; the other rows keep their numbers."""
    (tmp_path / "in.csv").write_text("x,id\n1,a\ntwo,b\n0,c\n4,d\n5\n")
    command = [*options(server, "rows"), "--signature", "checked", "--file", tmp_path / "in.csv"]

    stopped = run_cli(*command)
    shown = run_cli(*command, "--output", tmp_path / name, "--on-error", "skip", "--json")

    assert stopped.code == 2
    assert "error: in.csv row 2: x is text ('two'), but the model wants float32" in stopped.stderr
    document = json.loads(shown.stdout)
    assert (document["rows"], document["rejected"]) == (2, 3)
    rejects = [json.loads(line) for line in Path(document["rejects"]).read_text().splitlines()]
    assert [reject["row"] for reject in rejects] == [2, 3, 5]
    assert [reject["input"] for reject in rejects] == [{"x": "two"}, {"x": 0.0}, {"x": None}]
    assert "not a number to divide by" in rejects[1]["error"]
    if name == "out.npz":
        with np.load(tmp_path / name) as found:
            assert (found["row"].tolist(), found["y"].tolist()) == ([1, 4], [1, 0.25])
    else:
        assert (tmp_path / name).read_text() == "row,y\n1,1.0\n4,0.25\n"


def test_images_are_labelled_with_their_names(tmp_path: Path, run_cli: RunCli, echo_images: Served) -> None:
    """The results of a directory of images have a column with the file names."""
    for name, grey in (("b.png", 20), ("a.png", 10)):
        Image.new("RGB", (4, 4), (grey, grey, grey)).save(tmp_path / name)
    (tmp_path / "c.png").write_text("no image")
    command = [*options(echo_images, "images"), "--file", tmp_path, "--on-error", "skip"]

    assert run_cli(*command, "--output", tmp_path / "out.jsonl").code == 0
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(Path(one["file"]).name, one["row"], one["image"]) for one in found] == [
        ("a.png", 1, [[[10] * 3]]),
        ("b.png", 2, [[[20] * 3]]),
    ]
    assert "c.png: not an image" in (tmp_path / "out.jsonl.rejects.jsonl").read_text()


def test_resume_refuses_new_images(tmp_path: Path, run_cli: RunCli, echo_images: Served) -> None:
    """A row number is the position of its file, so a run over other files cannot continue."""
    for name in ("a.png", "b.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    (tmp_path / "c.png").write_text("no image")
    command = [*options(echo_images, "images"), "--file", tmp_path, "--output", tmp_path / "out.jsonl"]

    assert "2 predictions are kept" in run_cli(*command).stderr
    assert "row 3: c.png" in run_cli(*command, "--resume").stderr
    Image.new("RGB", (4, 4)).save(tmp_path / "aa.png")
    assert ": images changed" in run_cli(*command, "--resume").stderr


def test_output_is_no_image_of_the_folder(tmp_path: Path, run_cli: RunCli, echo_images: Served) -> None:
    """With --format images, files with any name are images and would be lost."""
    file = tmp_path / "photo.npy"
    Image.new("RGB", (4, 4)).save(file, format="png")
    before = file.read_bytes()

    command = [*options(echo_images, "images"), "--file", tmp_path, "--format", "images"]

    assert "would overwrite" in run_cli(*command, "--output", file).stderr
    assert file.read_bytes() == before


def test_a_fixed_batch_size_is_kept_and_a_smaller_rest_refused(
    tmp_path: Path, run_cli: RunCli, echo_images: Served
) -> None:
    """Each request has exactly that number of rows; a smaller rest is refused after the others are answered."""
    (tmp_path / "x.csv").write_text("x\n1\n2\n3\n4\n5\n")
    command = [*options(echo_images, "images"), "--file", tmp_path / "x.csv"]

    pairs, single = run_cli(*command, "--signature", "pairs"), run_cli(*command, "--signature", "single")
    wrong = run_cli(*command, "--signature", "pairs", "--batch-size", 4)

    assert pairs.stdout == "1.0\n2.0\n3.0\n4.0\n"
    assert "pairs takes exactly 2 rows per request, and 1 remain from row 5 on" in pairs.stderr
    assert (single.code, single.stdout) == (0, "1.0\n2.0\n3.0\n4.0\n5.0\n")
    assert "error: pairs takes exactly 2 rows per request" in wrong.stderr


def test_unloaded_version_is_followed(tmp_path: Path) -> None:
    """If the version is replaced, the new version answers with its own signature, and a note says so."""
    write_scale_model(tmp_path / "m" / "1", 10)
    with running_server({"m": tmp_path / "m"}, tmp_path) as server:
        argv = [sys.executable, "-m", "tfsctl", *map(str, options(server, "m")), "--file", "-"]
        with subprocess.Popen(
            argv,
            env=clean_environment(tmp_path),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as run:
            assert run.stdin is not None
            assert run.stdout is not None
            print(1, file=run.stdin, flush=True)
            assert run.stdout.readline() == "10.0\n"
            write_scale_model(tmp_path / "new" / "2", 100)
            (tmp_path / "new" / "2").rename(tmp_path / "m" / "2")
            with open_client("grpc", server.host, server.grpc_port) as client:
                while [status.state for status in client.status(ModelRef("m"))] != ["AVAILABLE", "END"]:
                    time.sleep(0.05)
            answer, stderr = run.communicate("2\n", timeout=240)

    assert answer == "200.0\n"
    assert "m version 1 is no longer served; from about row 2 on, version 2 answers" in stderr


@pytest.fixture(scope="module")
def echo_images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server with signatures for images of one pixel, for pairs and for single values."""
    folder = tmp_path_factory.mktemp("images")
    signatures: dict[str, Inputs] = {
        "serving_default": {"image": ("uint8", (None, 1, 1, 3))},
        "pairs": {"x": ("float32", (2,))},
        "single": {"x": ("float32", ())},
    }
    write_echo_model(folder / "images" / "1", signatures)
    with running_server({"images": folder / "images"}, folder) as running:
        yield running


class Run:
    """`tfsctl predict --file … --output …` as a process; the model takes some milliseconds per request."""

    def __init__(self, server: Served, ones: Path, output: Path, *more: str) -> None:
        self.output = output
        self._environment = clean_environment(ones.parent)
        command = [*options(server, "rows"), "--signature", "slow", "--file", ones, "--output", output]
        self._argv = [sys.executable, "-m", "tfsctl", *map(str, command), "--batch-size", "1", "--concurrency", "4"]
        self._argv += more

    def start(self, *more: str) -> subprocess.Popen[str]:
        """Start the process with more options."""
        return subprocess.Popen([*self._argv, *more], env=self._environment, stderr=subprocess.PIPE, text=True)

    def resume(self) -> subprocess.Popen[str]:
        """Resume the run with large requests: the model is slow per request, not per row."""
        return self.start("--resume", "--batch-size", "100")

    def start_and_wait_for_a_mark(self) -> subprocess.Popen[str]:
        """Start the process, and return when there is a checkpoint with some answers."""
        run = self.start()
        deadline = time.monotonic() + PATIENCE_S
        while not self.output.with_name(f"{self.output.name}.progress").exists():
            assert run.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return run


@pytest.mark.parametrize(
    ("sign", "name"), [(signal.SIGINT, "out.csv"), (signal.SIGKILL, "out.csv"), (signal.SIGINT, "out.npy")]
)
def test_interrupted_run_is_resumed(
    server: Served, ones: Path, tmp_path: Path, sign: signal.Signals, name: str
) -> None:
    """Ctrl-C keeps every answer; a killed run continues at its last checkpoint; the result is the same."""
    run = Run(server, ones, tmp_path / name)
    interrupted = run.start_and_wait_for_a_mark()
    interrupted.send_signal(sign)
    _, stderr = interrupted.communicate(timeout=240)

    assert not run.output.exists()
    mark = json.loads((tmp_path / f"{name}.progress").read_text())
    assert 0 < mark["rows"] == mark["through"] < 300
    if sign == signal.SIGINT:
        assert interrupted.returncode == 130
        assert f"{mark['rows']:,} predictions are kept" in stderr
    else:
        assert interrupted.returncode == -signal.SIGKILL
    again = run.start()
    assert again.communicate(timeout=240)[1].startswith("error: an earlier run for ")
    assert again.returncode == 2
    resumed = run.resume()
    _, stderr = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, stderr
    assert "300 rows" in stderr
    wanted = [float(x) for x in range(1, 301)]
    if name == "out.npy":
        assert np.load(run.output).tolist() == wanted
    else:
        assert run.output.read_text() == "y\n" + "".join(f"{x}\n" for x in wanted)
    assert {path.name for path in tmp_path.glob("out*")} == {name}


def test_ctrl_c_while_publishing(server: Served, ones: Path, tmp_path: Path, run_cli: RunCli) -> None:
    """The first Ctrl-C has no effect then; the second one leaves files that --resume completes."""
    for times, code in ((1, 0), (2, 130)):
        output = tmp_path / f"out{times}.npz"
        command = [*map(str, options(server, "rows")), "--only", "y", "--file", str(ones), "--output", str(output)]
        run = subprocess.run(
            [sys.executable, "-c", _INTERRUPTED_AT_THE_END, str(times), *command],
            env=clean_environment(tmp_path),
            capture_output=True,
            text=True,
            check=False,
        )

        assert run.returncode == code, run.stderr
        if code:
            assert "300 predictions are kept; add --resume to the same command to continue after row 300" in run.stderr
            assert not output.exists()
            assert run_cli(*command, "--resume").code == 0
        with np.load(output) as arrays:
            assert arrays["y"].tolist() == [float(x) for x in range(1, 301)]
    assert {path.name for path in tmp_path.glob("out*")} == {"out1.npz", "out2.npz"}


def test_resume_refuses_another_file(server: Served, ones: Path, tmp_path: Path) -> None:
    """The message names what has changed."""
    run = Run(server, ones, tmp_path / "out.csv")
    interrupted = run.start_and_wait_for_a_mark()
    interrupted.kill()
    interrupted.communicate()
    with ones.open("a") as file:
        file.write("301\n")

    resumed = run.start("--resume")

    assert ": the input file changed" in resumed.communicate(timeout=240)[1]
    assert resumed.returncode == 2


def test_a_run_that_filled_the_disk_can_be_resumed(served: Served, tmp_path: Path, run_cli: RunCli) -> None:
    """The run ends with one message; with free space, --resume continues it to the same result."""
    (tmp_path / "in.csv").write_text("x\n" + "".join(f"{x}\n" for x in range(400_000)))
    command = [*options(served, "echo"), "--file", tmp_path / "in.csv", "--output", tmp_path / "out.csv"]
    argv = ["bash", "-c", 'ulimit -f 1000 && exec "$@"', "-", sys.executable, "-m", "tfsctl", *map(str, command)]

    full = subprocess.run(argv, env=clean_environment(tmp_path), capture_output=True, text=True, check=False)

    assert full.returncode == 1, full.stderr
    assert f"error: cannot write {tmp_path / 'out.csv'}: File too large" in full.stderr
    resumed = run_cli(*command, *["--resume"] * (tmp_path / "out.csv.progress").exists())
    assert resumed.code == 0, resumed.stderr
    assert (tmp_path / "out.csv").read_text() == "x\n" + "".join(f"{x}.0\n" for x in range(400_000))
    assert {path.name for path in tmp_path.glob("out*")} == {"out.csv"}


def test_memory_is_constant(served: Served, tmp_path: Path) -> None:
    """A file of 20 MB is processed in less than 150 MB of memory."""
    (tmp_path / "in.csv").write_text("x\n" + "0.123456789012345678\n" * 1_000_000)
    command = [*options(served, "echo"), "--file", tmp_path / "in.csv", "--output", tmp_path / "out.csv"]
    run = subprocess.run(
        [sys.executable, "-c", _PEAK_MB, *map(str, command)],
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )

    assert float(run.stdout) < 150
    assert (tmp_path / "out.csv").stat().st_size == 2 + len("0.12345679\n") * 1_000_000


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--file", "none.csv"], "error: there is no file none.csv"),
        (["--batch-size", "3", "1"], "error: --batch-size needs rows from a file"),
        (
            ["--file", "{ones}", "1"],
            "error: '1' is an argument, but --file or --format reads the rows from a file or stdin",
        ),
        (["--file", "{ones}", "--resume"], "error: --resume needs --output"),
        (["--file", "{ones}", "--on-error", "skip"], "error: --on-error skip writes the skipped rows"),
        (["--file", "{ones}", "--output", "out.xls"], "error: --output out.xls: unknown file type"),
        (["--file", "{ones}", "--output", "no/out.csv"], "error: --output no/out.csv: there is no directory no"),
        (["--file", "{ones}", "--column", "x"], "error: --column x is not of the form INPUT=COLUMN"),
        (["--file", "{ones}", "--only", "z"], "error: "),
    ],
)
def test_meaningless_options_are_refused(
    server: Served, ones: Path, run_cli: RunCli, argv: list[str], message: str
) -> None:
    """The message comes before any request."""
    shown = run_cli(*options(server, "rows"), *(word.format(ones=ones) for word in argv))

    assert shown.code in (2, 4)
    assert shown.stderr.startswith(message)
    assert shown.stdout == ""


def test_typed_rows_are_written_to_a_file(served: Served, tmp_path: Path, run_cli: RunCli) -> None:
    """--output also writes the answer to typed rows."""
    refused = run_cli(*options(served, "none"), "1", "--output", tmp_path / "out.xls")
    assert refused.stderr.startswith(
        f"error: --output {tmp_path / 'out.xls'}: unknown file type"
    )  # before anything is sent
    assert run_cli(*options(served, "echo"), "1", "2.5", "--output", tmp_path / "out.csv").code == 0
    assert (tmp_path / "out.csv").read_text() == "x\n1.0\n2.5\n"
