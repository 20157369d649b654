"""`tfsctl predict`: what is typed, what is sent, what is printed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import RunCli
from model_servers import Served, clean_environment
from slow_servers import SlowServer, slow_grpc, slow_rest

from tfsctl.engines.registry import RunningServer

pytestmark = pytest.mark.usefixtures("registered")

OVER = pytest.mark.parametrize("over", ["--rest", "--grpc"])


def document(text: str) -> dict[str, Any]:
    """The one JSON document printed, without the latency, which must be a plausible number."""
    printed: dict[str, Any] = json.loads(text)
    assert 0 < printed.pop("latency_ms") < 60_000
    return printed


@OVER
@pytest.mark.parametrize(
    ("typed", "printed"),
    [
        (["--model", "half_plus_two", "2", "1"], "3.0\n2.5\n"),
        (["--model", "half_plus_two", "-1", "-.5", "--", "-3"], "1.5\n1.75\n0.5\n"),
        (["--model", "half_plus_two", "1,2,nan"], "2.5\n3.0\nnan\n"),
        (["--model", "half_plus_two", '{"instances": [2]}'], "3.0\n"),
        (["--model", "echo", "--signature", "text", "great :D", "[x]"], "great :D\n[x]\n"),
        (["--model", "echo", "--signature", "text_column", "a", "b"], "a\nb\n"),
        (["--model", "echo", "--signature", "row", "1,2,3", "4 5 6"], "[1.0, 2.0, 3.0]\n[4.0, 5.0, 6.0]\n"),
        (["--model", "echo", "--signature", "scalar", "2"], "2.0\n"),
        (["--model", "echo", "--signature", "int64", "9007199254740993"], "9007199254740993\n"),
        (["--model", "echo", "--signature", "two", "area=1", "city=New York"], "1.0\tNew York\n"),
        (["--model", "echo", "--signature", "two", '{"area": [1, 2], "city": ["a", "b"]}'], "1.0\ta\n2.0\tb\n"),
        (["--model", "echo", '{"signature_name": "text", "inputs": ["a"]}'], "a\n"),
        (["--model", "echo", "--signature", "text", '"a\\tb\\u001b[2J"'], '"a\\tb\\u001b[2J"\n'),
        (["--model", "echo", "--signature", "text_bytes", '{"b64": "/w=="}'], '{"b64": "/w=="}\n'),
        (["--model", "echo", "[]"], ""),
        (["--model", "echo", "--version", "7", "1"], "1.0\n"),
    ],
)
def test_each_row_is_a_line(run_cli: RunCli, over: str, typed: list[str], printed: str) -> None:
    """The answer, and nothing else, is on stdout: a value a line, or a line of values for several outputs."""
    result = run_cli("predict", over, *typed)
    assert (result.stdout, result.stderr, result.code) == (printed, "", 0)


@OVER
@pytest.mark.parametrize(
    ("typed", "stdin", "printed"),
    [
        (["half_plus_two"], "2\n1\n", "3.0\n2.5\n"),
        (["half_plus_two", "-"], "2", "3.0\n"),
        (["half_plus_two"], '{"instances":\n [2, 1]}\n', "3.0\n2.5\n"),
        (["echo", "--signature", "text"], "a\r\n\nb\n", "a\n\nb\n"),
        (["echo", "--signature", "text"], b"\xff\n", '{"b64": "/w=="}\n'),
        (["echo", "--signature", "text"], "[not JSON\n", "[not JSON\n"),
        (["echo", "--signature", "two"], "area=1 city=a\ncity=b area=2\n", "1.0\ta\n2.0\tb\n"),
    ],
)
def test_stdin_is_a_row_a_line(run_cli: RunCli, over: str, typed: list[str], stdin: str | bytes, printed: str) -> None:
    """Without arguments, or with `-`, lines are read from a pipe; a whole JSON document may span several."""
    result = run_cli("predict", over, "--model", *typed, stdin=stdin)
    assert (result.stdout, result.stderr, result.code) == (printed, "", 0)


@OVER
def test_json_is_one_document(run_cli: RunCli, over: str) -> None:
    """The same keys and values over both transports, the version included; bytes as b64, NaN bare."""
    printed = run_cli("predict", over, "--model", "half_plus_two", "2", "--json").stdout
    assert printed.count("\n") == 1
    answer = document(printed)
    assert answer.pop("version") > 0
    assert answer == {"model": "half_plus_two", "signature": "serving_default", "outputs": {"y": [3.0]}}

    answer = document(run_cli("predict", over, "--model", "echo", "--json", "nan", "inf").stdout)
    assert str(answer["outputs"]) == "{'x': [nan, inf]}"

    binary = run_cli("predict", over, "--model", "echo", "--json", "--signature", "text_bytes", "text").stdout
    assert document(binary) == {
        "model": "echo",
        "version": 7,
        "signature": "text_bytes",
        "outputs": {"text_bytes": [{"b64": "dGV4dA=="}]},
    }


@OVER
@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (
            ["--model", "half_plus_two", "great"],
            2,
            "error: 'great' is not float32; serving_default takes x float32 [batch]\nhint: for example: 1.0\n",
        ),
        (
            ["--model", "half_plus_two"],
            2,
            'error: nothing to predict on\nhint: tfsctl predict "some text"; tfsctl metadata tells what fits\n',
        ),
        (
            ["--model", "echo", "--signature", "two", "are=1"],
            2,
            "error: there is no input 'are' (did you mean 'area'?); two takes area float32 [batch], city string [batch]\n"
            'hint: for example: area=1.0 city="This movie is great! :D"\n',
        ),
        (
            ["--model", "half_plus_2", "2"],
            4,
            "error: no running server serves 'half_plus_2'; running: {running}\nhint: did you mean --model half_plus_two?\n",
        ),
        (
            ["--model", "echo", "--version", "1", "2"],
            4,
            "error: echo version 1 at {address}: Servable not found for request: Specific(echo, 1)\n"
            "cause: that version is not loaded: by default a server keeps the newest one only\n"
            "hint: tfsctl status shows the versions there are; without --version the latest is asked\n",
        ),
        (
            ["--model", "echo", "--signature", "txt", "2"],
            4,
            "error: echo has no signature 'txt', only any, bool, float16, float64, int32, int64, int8, row, scalar, "
            "serving_default, text, text_bytes, text_column, two, uint8\nhint: did you mean --signature text?\n",
        ),
        (["2"], 2, "error: test serves several models: {models}\nhint: choose one with --model NAME\n"),
    ],
)
def test_what_goes_wrong_is_said_on_stderr(
    run_cli: RunCli, registered: RunningServer, over: str, typed: list[str], code: int, said: str
) -> None:
    """Nothing on stdout, one line that names what and where, one that says what to type; the code tells the kind."""
    port = registered.rest_port if over == "--rest" else registered.grpc_port
    expected = said.format(
        address=f"127.0.0.1:{port}",
        models=", ".join(registered.models),
        running=f"{'+'.join(registered.models)} (REST {registered.rest_port}, gRPC {registered.grpc_port})",
    )
    result = run_cli("predict", over, *typed)
    assert (result.stdout, result.stderr, result.code) == ("", expected, code)


def test_float16_goes_over_grpc_and_rest_says_so(run_cli: RunCli) -> None:
    """TensorFlow Serving's REST API has no float16; the hint names the way that has."""
    typed = ["predict", "--model", "echo", "--signature", "float16", "1.5"]
    assert run_cli(*typed, "--grpc").stdout == "1.5\n"
    refused = run_cli(*typed, "--rest")
    assert (refused.code, refused.stdout) == (5, "")
    assert refused.stderr.endswith("hint: REST cannot carry that dtype; gRPC can: --grpc\n")


def test_an_address_needs_no_running_server(run_cli: RunCli, served: Served) -> None:
    """--host and --port reach a server tfsctl did not start."""
    result = run_cli("predict", "--host", "localhost", "--port", served.grpc_port, "--grpc", "--model", "echo", "5")
    assert (result.stdout, result.code) == ("5.0\n", 0)


@OVER
def test_nobody_there_is_unreachable(run_cli: RunCli, over: str) -> None:
    """A closed port ends with 3, in the same words over both transports."""
    result = run_cli("predict", over, "--host", "127.0.0.1", "--port", "9", "--model", "echo", "5")
    assert (result.stderr, result.code) == (
        "error: no answer from 127.0.0.1:9: Connection refused\ncause: nobody listens on that port\n"
        "hint: is it running? tfsctl serve PATH starts a server; tfsctl ps lists those that run\n",
        3,
    )


def test_an_unknown_option_is_not_an_input(run_cli: RunCli) -> None:
    """Only numbers may begin with a dash: a mistyped option is a usage error, with the right one."""
    result = run_cli("predict", "--modle", "echo", "5")
    assert result.code == 2
    assert "--modle" in result.stderr
    assert "--model" in result.stderr.replace("--modle", "")


def test_a_flag_beats_a_variable_beats_the_default(
    run_cli: RunCli, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every option has a variable; what is typed counts more."""
    monkeypatch.setenv("TFSCTL_MODEL", "echo")
    monkeypatch.setenv("TFSCTL_SIGNATURE", "int32")
    assert run_cli("predict", "5").stdout == "5\n"
    assert run_cli("predict", "5", "--signature", "float64").stdout == "5.0\n"

    monkeypatch.setenv("TFSCTL_HOST", "127.0.0.1")
    monkeypatch.setenv("TFSCTL_PORT", "9")
    monkeypatch.setenv("TFSCTL_GRPC", "1")
    monkeypatch.setenv("TFSCTL_JSON", "1")
    assert run_cli("predict", "5").stderr.startswith("error: no answer from 127.0.0.1:9: ")
    answered = run_cli("predict", "5", "--port", served.grpc_port)
    assert document(answered.stdout)["outputs"] == {"x": [5]}
    assert run_cli("predict", "5", "--port", served.rest_port, "--rest", "--model", "half_plus_two").code == 4


@pytest.mark.parametrize(("slow_server", "over"), [(slow_rest, "--rest"), (slow_grpc, "--grpc")])
def test_ctrl_c_ends_with_130(tmp_path: Path, slow_server: SlowServer, over: str) -> None:
    """An interrupted command ends at once, without a traceback."""
    asked = threading.Event()
    with slow_server(asked) as port:
        argv = [sys.executable, "-m", "tfsctl", "predict", over, "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(
            [*argv, "--model", "slow", "1"], env=clean_environment(tmp_path), stderr=subprocess.PIPE, text=True
        )
        assert asked.wait(timeout=30)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in said
