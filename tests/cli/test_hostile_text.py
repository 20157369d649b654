"""Text from servers, models, files and arguments never reaches the terminal raw, whatever command prints it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from cli_runner import MemoryStream, RunCli
from hostile_server import HOSTILE, hostile_server, unsafe_in

from tfsctl.cli import main
from tfsctl.cli.registry import COMMANDS
from tfsctl.engines.registry import records
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import ExitCode

# Each command, with everything that it prints of others. SERVER stands for the options that name the hostile server.
SERVER = "SERVER"
URL = "URL"  # of a model of the hostile server
MODEL = ("--model", f"m{HOSTILE}")
SCENARIOS: dict[str, list[tuple[str, ...]]] = {
    "predict": [
        (*MODEL, SERVER, HOSTILE),
        (*MODEL, SERVER, "a", "b"),
        (*MODEL, SERVER, "a", "--json"),
        (*MODEL, SERVER, "--file", "lines.txt"),
        (*MODEL, SERVER, "--file", "lines.txt", "--json"),
        (*MODEL, SERVER, "--file", "columns.csv"),
        (*MODEL, SERVER, "--file", f"missing{HOSTILE}.csv"),
        (*MODEL, SERVER, "a", "--output", f"{HOSTILE}.csv"),
        (*MODEL, SERVER, f"{HOSTILE}=2"),
        (*MODEL, SERVER, f'{{"{HOSTILE}": 1}}'),
        (*MODEL, SERVER, f"[{HOSTILE}"),
        (*MODEL, SERVER, "-i", f"x=@{HOSTILE}"),
        (*MODEL, SERVER, "a", "--only", HOSTILE),
        (*MODEL, SERVER, "a", "--signature", HOSTILE),
        (*MODEL, SERVER, "a", "--labels", "lines.txt"),
        (*MODEL, SERVER, HOSTILE, "--show", "curl"),
        (*MODEL, SERVER, HOSTILE, "--show", "python"),
        (*MODEL, SERVER, HOSTILE, "--dry-run"),
        ("--model", "refused", SERVER, "a"),
        ("--model", "refused", SERVER, "a", "--file", "lines.txt"),
        ("--model", "deep", SERVER, "a"),
        ("--model", "m", "--host", HOSTILE, "a"),
        ("--model", "m", "--url", f"http://{HOSTILE}/", "a"),
        (f"--{HOSTILE}",),
        ("--port", HOSTILE),
        ("--max-answer", HOSTILE),
    ],
    "classify": [(*MODEL, SERVER, "x=1"), (*MODEL, SERVER, "x=1", "--json"), (*MODEL, SERVER, HOSTILE)],
    "regress": [(*MODEL, SERVER, "x=1"), ("--model", "refused", SERVER, "x=1"), (*MODEL, SERVER, f"x={HOSTILE}")],
    "metadata": [(*MODEL, SERVER), (*MODEL, SERVER, "--json"), (f"/{HOSTILE}",), ("m", SERVER, "--diff", "1", HOSTILE)],
    "sample": [(*MODEL, SERVER), (*MODEL, SERVER, "--signature", f"s{HOSTILE}")],
    "status": [(f"m{HOSTILE}", SERVER), ("m", SERVER, "--json")],
    "wait": [(f"m{HOSTILE}", SERVER, "--timeout", "1"), ("m", SERVER, "--timeout", "1")],
    "repl": [(*MODEL, SERVER)],
    "explain": [(f"Could not find base path /models/{HOSTILE} for servable x",), (HOSTILE,)],
    "ps": [(), ("--all",), ("--all", "--json")],
    "logs": [(), (f"old{HOSTILE}",), (HOSTILE,)],
    "restart": [(HOSTILE,)],
    "stop": [(HOSTILE,), (f"old{HOSTILE}",)],
    "serve": [(f"./{HOSTILE}",), ("directory",), ("--config", "models.config", "--dry-run")],
    "run": [(f"./{HOSTILE}",)],
    "compose": [(f"./{HOSTILE}",)],
    "image": [("build", f"./{HOSTILE}"), (HOSTILE,)],
    "export": [(f"{HOSTILE}.py",), (f"{HOSTILE}.keras",)],
    "warmup": [(f"./{HOSTILE}",), ("directory", f"{HOSTILE}.jsonl")],
    "lint": [(f"./{HOSTILE}",), ("models.config",), ("directory",), ("columns.csv", "--kind", HOSTILE)],
    "versions": [
        (),
        (f"./{HOSTILE}",),
        ("directory",),
        ("rm", "directory", HOSTILE),
        ("prune", f"./{HOSTILE}", "--keep", "1"),
    ],
    "label": [("ls", HOSTILE), (HOSTILE, f"{HOSTILE}=1"), ("rm", HOSTILE, HOSTILE)],
    "promote": [(HOSTILE,), (HOSTILE, "--message", HOSTILE)],
    "rollback": [(HOSTILE,)],
    "history": [(HOSTILE,), ("directory",)],
    "verify": [(f"./{HOSTILE}",), ("directory",)],
    "models": [(".",), (f"./{HOSTILE}",)],
    "front": [(HOSTILE,), (HOSTILE, "--remove"), (f"old{HOSTILE}",)],
    "canary": [(HOSTILE, "--version", "2"), ("m", "--version", HOSTILE)],
    "ab": [(HOSTILE, "1=50", "2=50"), ("m", HOSTILE)],
    "shadow": [(HOSTILE, "--version", "2"), ("m", "--sample", HOSTILE), ("m", "--fail-if", HOSTILE)],
    "rollout": [("status", HOSTILE), ("abort", HOSTILE), (HOSTILE,)],
    "record": [(HOSTILE, "--to", "out"), ("m", "--to", HOSTILE)],
    "skew": [(f"./{HOSTILE}", "columns.csv"), ("lines.txt", "columns.csv", "--fail-if", HOSTILE)],
    "replay": [(f"./{HOSTILE}",), ("lines.txt",)],
    "compare": [
        (f"./{HOSTILE}", "b"),
        (URL, URL, "--file", "lines.txt"),
        ("a", "b", "--file", "lines.txt", "--fail-if", HOSTILE),
    ],
    HOSTILE: [()],
}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of the hostile server."""
    with hostile_server() as number:
        yield number


@pytest.fixture
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hostile files and the record of a server that has ended, in the current directory."""
    monkeypatch.chdir(tmp_path)
    line = HOSTILE.replace("\r", "")
    (tmp_path / "lines.txt").write_text(f"{line}\n{line}\n", encoding="utf-8")
    (tmp_path / "columns.csv").write_text(f"y{line},z\n{line},1\n", encoding="utf-8")
    (tmp_path / "models.config").write_text(f"model_config_list {{ {line} }}", encoding="utf-8")
    (tmp_path / "directory" / f"v1{HOSTILE}").mkdir(parents=True)
    (tmp_path / "directory" / f"v1{HOSTILE}" / "saved_model.pb").write_bytes(HOSTILE.encode())
    log = tmp_path / "log"
    log.write_text(f"2026-11-24 09:00:00.5: W file.cc:1] {line}\n{line}\n", encoding="utf-8")
    name = f"old{HOSTILE.replace('/', '')}"
    record = ServerRecord(name, "embedded", HOSTILE, 1, 2, (f"m{HOSTILE}",), 2**22 + 1, None, 1.0, str(log))
    records.register(record)


def test_every_command_has_a_scenario() -> None:
    """A new command that prints outside text needs one here."""
    assert set(SCENARIOS) - {HOSTILE} == set(COMMANDS)


@pytest.mark.parametrize("is_terminal", [True, False], ids=["terminal", "pipe"])
@pytest.mark.parametrize("command", SCENARIOS, ids=lambda name: "unknown" if name == HOSTILE else name)
@pytest.mark.usefixtures("_files")
def test_outside_text_is_escaped(command: str, is_terminal: bool, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """No escape sequence of an argument, a file or a server is printed, and no command fails with a bug."""
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("NO_COLOR", "1")
    for arguments in SCENARIOS[command]:
        argv = [command]
        for argument in arguments:
            if argument == SERVER:
                argv += ["--host", "127.0.0.1", "--port", str(port)]
            else:
                argv.append(f"http://127.0.0.1:{port}/v1/models/m" if argument == URL else argument)
        stdout, stderr = MemoryStream(terminal=is_terminal), MemoryStream(terminal=is_terminal)
        monkeypatch.setattr(sys, "stdin", MemoryStream(f"{HOSTILE}\n:model {HOSTILE}\n:{HOSTILE}\n".encode()))
        with redirect_stdout(stdout), redirect_stderr(stderr):
            code = main(argv)
        printed = stdout.written() + stderr.written()
        assert unsafe_in(printed) == [], (argv, printed)
        assert code != ExitCode.BUG, (argv, printed)
        assert printed, argv


def test_json_stays_json(port: int, run_cli: RunCli) -> None:
    """An escaped document has the same value."""
    shown = run_cli("predict", "--host", "127.0.0.1", "--port", port, "--model", "m", "a", "--json")

    assert json.loads(shown.stdout)["outputs"] == {f"y{HOSTILE}": [f"text{HOSTILE}"]}


def test_raw_answer_is_unchanged_in_a_pipe_only(port: int, run_cli: RunCli) -> None:
    """--raw prints the body as it is into a pipe, and escaped on a terminal."""
    argv = ["predict", "--host", "127.0.0.1", "--port", str(port), "--model", "m", "--raw", "{}"]
    expected = json.dumps({"outputs": [f"text{HOSTILE}"]}, ensure_ascii=False)
    assert run_cli(*argv).stdout == expected

    screen = MemoryStream(terminal=True)
    with redirect_stdout(screen):
        main(argv)
    assert unsafe_in(screen.written()) == []
    assert json.loads(screen.written()) == json.loads(expected)


@pytest.mark.parametrize(
    ("model", "code", "message"),
    [
        ("endless", ExitCode.FAILED, "the answer is larger than 2 MB"),
        ("bomb", ExitCode.FAILED, "the answer is larger than 2 MB"),
        ("layers", ExitCode.REJECTED, "content encoding gzip, gzip"),
        ("deep", ExitCode.REJECTED, "not a valid JSON object"),
        ("nested", ExitCode.REJECTED, "nested deeper than 32 levels"),
    ],
)
def test_answers_are_bounded(model: str, code: ExitCode, message: str, port: int, run_cli: RunCli) -> None:
    """An answer that is too large or too deep is an error with a documented exit code."""
    server = ("--host", "127.0.0.1", "--port", port, "--max-answer", "2m")

    for argv in (["predict", "a"], ["predict", "--raw", "{}"], ["classify", "x=1"]):
        shown = run_cli(*argv, *server, "--model", model)
        if "--raw" in argv and model in ("deep", "nested"):
            assert (shown.code, shown.stdout[:12]) == (0, '{"outputs":[')  # the body is printed, not read
        elif argv[0] == "predict" or model != "nested":
            assert (shown.code, message in shown.stderr) == (code, True), shown
