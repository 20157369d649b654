"""`tfsctl repl` as a process: with lines from a pipe, and in a real terminal."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cli_runner import RunCli
from model_servers import clean_environment
from slow_servers import SlowServer, slow_grpc, slow_rest
from terminal import CTRL_C, CTRL_D, ENTER, TAB, UP, Terminal

from tfsctl.engines.server_record import ServerRecord


@pytest.mark.usefixtures("registered")
def test_piped_lines_give_one_answer_each(run_cli: RunCli) -> None:
    """Without a prompt, bars or latency: one answer per line on stdout."""
    result = run_cli("repl", "--model", "half_plus_two", stdin="2\n\n1\n:grpc\n0.5")
    assert (result.stdout, result.code) == ("3.0\n2.5\n2.25\n", 0)
    assert "over gRPC" in result.stderr


@pytest.mark.usefixtures("registered")
def test_piped_exit_code_is_the_first_failure(run_cli: RunCli) -> None:
    """Failures are reported with their line number and do not end the run; :q does."""
    result = run_cli("repl", "--model", "half_plus_two", stdin="2\ngreat\n:model nope\n1\n:q\n3\n")
    assert (result.stdout, result.code) == ("3.0\n2.5\n", 2)
    first, second = (line for line in result.stderr.splitlines() if line.startswith("error: "))
    assert first.startswith("error: line 2: 'great' is not float32; ")
    assert second.startswith("error: line 3: nope at ")


@pytest.mark.usefixtures("registered")
def test_piped_text_may_span_lines(run_cli: RunCli) -> None:
    """Triple quotes work in a pipe; a failure names the first line."""
    typed = ':signature text\n"""a\nb"""\n:signature row\n"""x\ny"""\n'
    result = run_cli("repl", "--model", "echo", stdin=typed)
    assert (result.stdout, result.code) == ('"a\\nb"\n', 2)
    assert "error: line 5: " in result.stderr


@pytest.mark.usefixtures("registered")
def test_piped_json_prints_one_document_per_line(run_cli: RunCli) -> None:
    """With --json, each line of stdout is one answer."""
    result = run_cli("repl", "--model", "half_plus_two", "--json", "--grpc", stdin="2\n1\n")
    assert [json.loads(line)["outputs"]["y"] for line in result.stdout.splitlines()] == [[3.0], [2.5]]


def test_repl_needs_a_server(run_cli: RunCli) -> None:
    """An unreachable server is reported before the first prompt."""
    result = run_cli("repl", "--model", "m", "--host", "127.0.0.1", "--port", "9")
    assert (result.stdout, result.code) == ("", 3)
    assert result.stderr.startswith("error: no answer from 127.0.0.1:9: Connection refused\n")


@contextmanager
def terminal(where: Path, *options: object) -> Iterator[Terminal]:
    """`tfsctl repl` in a terminal, its state under `where`."""
    argv = [sys.executable, "-m", "tfsctl", "repl", *map(str, options)]
    with Terminal(argv, clean_environment(where)) as opened:
        yield opened


def test_terminal_session(registered: ServerRecord, tmp_path: Path) -> None:
    """Answers with bar and latency, command completion, Ctrl-C and history."""
    options = ("--host", registered.host, "--port", registered.rest_port, "--model", "echo")
    with terminal(tmp_path, *options) as screen:
        screen.expect("echo version 7 at 127.0.0.1")
        screen.expect(":help lists the commands, :q quits.")
        screen.expect("echo>")
        screen.press("0.5" + ENTER)
        assert "0.5  ████████████              50%" in screen.expect(" ms\n")
        screen.press("great" + ENTER)
        screen.expect("error: 'great' is not float32; serving_default takes x float32 [batch]\n")
        screen.expect("hint: for example: 1.0\n")
        screen.expect("echo>")
        screen.press("quit" + ENTER)
        screen.expect("leave? :q ")
        screen.expect("echo>")
        screen.press("never sent" + CTRL_C)
        screen.expect("echo>")
        screen.press(":metad" + TAB + ENTER)
        screen.expect("serving_default  input   x")
        screen.expect("echo>")
        screen.press(":q" + ENTER)
        assert screen.wait() == 0

    with terminal(tmp_path, *options) as screen:
        screen.expect("echo>")
        screen.press(UP * 5 + ENTER)  # up, past :q, :metadata, quit and great
        assert "0.5  ████████████              50%" in screen.expect(" ms\n")
        screen.expect("echo>")
        screen.press(CTRL_D)
        assert screen.wait() == 0


def test_multiline_text_in_a_terminal(registered: ServerRecord, tmp_path: Path) -> None:
    """Enter adds lines until the quotes close; signatures complete; a named value comes from a file."""
    (tmp_path / "words.txt").write_text("from a file\n")
    options = ("--host", registered.host, "--port", registered.rest_port, "--model", "echo")
    with terminal(tmp_path, *options) as screen:
        screen.expect("echo>")
        screen.press(":signature text_c" + TAB + ENTER)
        screen.expect("signature: text_column\n")
        screen.expect("echo>")
        screen.press('"""one' + ENTER)
        screen.expect("\n...")
        screen.press(':q two"""' + ENTER)
        screen.expect('"one\\n:q two"\n')
        screen.expect("echo>")
        screen.press(f"-i text=@{tmp_path}/wor" + TAB + ENTER)
        screen.expect("from a file\n")
        screen.expect("echo>")
        screen.press(CTRL_D)
        assert screen.wait() == 0


PASTE, PASTED = "\x1b[200~", "\x1b[201~"


def test_pasted_lines_are_separate_inputs(registered: ServerRecord, tmp_path: Path) -> None:
    """A pasted JSON document, or text in triple quotes, is one input."""
    options = ("--host", registered.host, "--port", registered.rest_port, "--model", "echo", "--signature", "text")
    with terminal(tmp_path, *options) as screen:
        screen.expect("echo>")
        screen.press(f"{PASTE}one\n\ntwo\n:signature text\n{PASTED}" + ENTER)
        for answer in ("\none\n", "\ntwo\n", "signature: text\n"):
            screen.expect(answer)
        screen.expect("echo>")
        screen.press(f'{PASTE}{{"instances":\n ["three",\n "four"]}}{PASTED}' + ENTER)
        screen.expect("\nthree\nfour\n")
        screen.expect("echo>")
        screen.press(f'{PASTE}"""five\nsix"""{PASTED}' + ENTER)
        screen.expect('\n"five\\nsix"\n')
        screen.expect("echo>")
        screen.press(CTRL_D)
        assert screen.wait() == 0


def test_repl_works_without_a_history_file(registered: ServerRecord, tmp_path: Path) -> None:
    """If the state directory cannot be written, a note says so and the REPL works."""
    (tmp_path / "file").write_text("")
    options = ("--host", registered.host, "--port", str(registered.rest_port), "--model", "echo")
    environment = clean_environment(tmp_path) | {"TFSCTL_STATE_DIR": str(tmp_path / "file" / "state")}
    with Terminal([sys.executable, "-m", "tfsctl", "repl", *options], environment) as screen:
        screen.expect("note: the history cannot be saved: cannot write the state directory")
        screen.expect("echo>")
        screen.press("0.5" + ENTER)
        screen.expect("50%")
        screen.press(UP + ENTER)
        screen.expect("50%")
        screen.expect("echo>")
        screen.press(CTRL_D)
        assert screen.wait() == 0


@pytest.mark.parametrize(("slow_server", "over"), [(slow_rest, "--rest"), (slow_grpc, "--grpc")])
def test_ctrl_c_cancels_a_request(tmp_path: Path, slow_server: SlowServer, over: str) -> None:
    """The REPL goes on after a request is cancelled."""
    received = threading.Event()
    with slow_server(received) as port:
        options = (over, "--host", "127.0.0.1", "--port", port, "--model", "slow")
        with terminal(tmp_path, *options) as screen:
            screen.expect("slow>")
            screen.press("1" + ENTER)
            assert received.wait(timeout=240)
            screen.expect(f"waiting for 127.0.0.1:{port} (Ctrl-C cancels)")
            screen.press(CTRL_C)
            screen.expect("slow>")
            screen.press(":q" + ENTER)
            assert screen.wait() == 0
