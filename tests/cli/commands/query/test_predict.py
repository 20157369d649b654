"""`tfsctl predict`: what is typed, what is sent, what is printed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from cli_runner import RunCli
from echo_models import write_echo_model
from model_servers import Served, clean_environment, running_server
from slow_servers import SlowServer, slow_grpc, slow_rest
from terminal import Terminal

from tfsctl.cli.inference.pinned_version import request_pinned_version
from tfsctl.cli.options.target import Target
from tfsctl.core.types import ModelMetadata, ModelRef, Prediction
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import NotFound

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
        (["--model", "half_plus_two", "1,2,nan"], "2.5\n3.0\nNaN\n"),
        (["--model", "half_plus_two", '{"instances": [2]}'], "3.0\n"),
        (["--model", "echo", "--signature", "text", "great :D", "[x]", "--text"], "great :D\n[x]\n"),
        (["--model", "echo", "--signature", "text_column", "a b", "b"], "a b\nb\n"),
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
def test_one_line_per_row(run_cli: RunCli, over: str, typed: list[str], printed: str) -> None:
    """Stdout has one value per line, or tab-separated values for several outputs."""
    result = run_cli("predict", over, *typed)
    assert (result.stdout, result.stderr, result.code) == (printed, "", 0)


@OVER
@pytest.mark.parametrize(
    ("typed", "stdin", "printed"),
    [
        (["half_plus_two"], "2\n1\n", "3.0\n2.5\n"),
        (["half_plus_two", "-"], "2", "3.0\n"),
        (["half_plus_two"], b"\xef\xbb\xbf2\n1\n", "3.0\n2.5\n"),
        (["half_plus_two"], "2\n1\n".encode("utf-16"), "3.0\n2.5\n"),
        (["half_plus_two", "--encoding", "utf-16-le"], "2\n1\n".encode("utf-16-le"), "3.0\n2.5\n"),
        (["half_plus_two", "--format", "json"], '{"instances":\n [2, 1]}\n', "3.0\n2.5\n"),
        (["half_plus_two", "--format", "csv"], "x\n2\n1\n", "3.0\n2.5\n"),
        (["half_plus_two", "-", "--format", "text"], "2\nx=1\n", "3.0\n2.5\n"),
        (["echo", "--signature", "text"], '{"instances": ["a"]}\n"b"\ntext=c\n', '{"instances": ["a"]}\n"b"\ntext=c\n'),
        (["echo", "--signature", "text"], "a\r\n\nb\n", "a\n\nb\n"),
        (["echo", "--signature", "text"], "[not JSON\n", "[not JSON\n"),
        (["echo", "--signature", "two"], "area=1 city=a\ncity=b area=2\n", "1.0\ta\n2.0\tb\n"),
    ],
)
def test_stdin_has_one_row_per_line(
    run_cli: RunCli, over: str, typed: list[str], stdin: str | bytes, printed: str
) -> None:
    """Without arguments, or with `-`, each line of stdin is one row; --format reads other formats."""
    result = run_cli("predict", over, "--model", *typed, stdin=stdin)
    assert (result.stdout, result.stderr, result.code) == (printed, "", 0)


@pytest.mark.parametrize(
    ("command", "encoding", "message", "hint"),
    [
        ("predict", "latin-1", "error: line 2 is not UTF-8 text (byte 0xe9)", "--encoding cp1252"),
        ("predict", "utf-16-le", "error: stdin is UTF-16 text without", "--encoding utf-16-le reads"),
        ("predict", "utf-16-be", "error: stdin is UTF-16 text without", "--encoding utf-16-be reads"),
        ("classify", "latin-1", "error: line 2 is not UTF-8 text (byte 0xe9)", "iconv -f LATIN1"),
        ("classify", "utf-16-le", "error: stdin is UTF-16 text without", "iconv -f utf-16-le"),
    ],
)
def test_stdin_in_another_encoding(run_cli: RunCli, command: str, encoding: str, message: str, hint: str) -> None:
    """The error names the encoding, and the hint the option of the command that reads it, or a program."""
    result = run_cli(command, "--model", "half_plus_two", stdin="1\ncaf\xe9\n".encode(encoding))
    assert (result.stdout, result.code) == ("", 2)
    assert result.stderr.startswith(message)
    assert f"hint: {hint}" in result.stderr


def test_stdin_with_a_damaged_mark(run_cli: RunCli) -> None:
    """A byte order mark of UTF-16 before an odd number of bytes."""
    result = run_cli("predict", "--model", "half_plus_two", stdin=b"\xff\xfe1")
    assert (result.stdout, result.code) == ("", 2)
    assert "stdin has the byte order mark of utf-16, but is not utf-16 text" in result.stderr


@OVER
def test_json_is_one_document(run_cli: RunCli, over: str) -> None:
    """Keys and values are the same over both transports; bytes are base64, and NaN is bare."""
    printed = run_cli("predict", over, "--model", "half_plus_two", "2", "--json").stdout
    assert printed.count("\n") == 1
    answer = document(printed)
    assert answer.pop("version") > 0
    outputs = {"outputs": {"y": [3.0]}, "predictions": [3.0]}
    assert answer == {"model": "half_plus_two", "signature": "serving_default", **outputs}

    answer = document(run_cli("predict", over, "--model", "echo", "--json", "nan", "inf").stdout)
    assert str(answer["outputs"]) == "{'x': [nan, inf]}"

    binary = run_cli("predict", over, "--model", "echo", "--json", "--signature", "text_bytes", "text").stdout
    assert document(binary) == {
        "model": "echo",
        "version": 7,
        "signature": "text_bytes",
        "outputs": {"text_bytes": [{"b64": "dGV4dA=="}]},
        "predictions": [{"b64": "dGV4dA=="}],
    }
    two = run_cli("predict", over, "--model", "echo", "--json", "--signature", "two", "area=1", "city=x").stdout
    assert document(two)["predictions"] == [{"area": 1.0, "city": "x"}]


@OVER
@pytest.mark.parametrize(
    ("typed", "printed"),
    [
        (["--signature", "text", "-i", "text=(x) y=1"], "(x) y=1\n"),
        (["--signature", "text", "-i", "@words.txt", "-i", "text=@words.txt"], "two words\ntwo words\n"),
        (["--signature", "two", "area=1", "-i", "city=New York"], "1.0\tNew York\n"),
        (["--signature", "row", "-i", "x=@row.npy", "--input", "x=1,2,3"], "[4.0, 5.0, 6.0]\n[1.0, 2.0, 3.0]\n"),
        (["--signature", "two", "-i", "area=1", "-i", "city=x", "--only", "city"], "x\n"),
        (["--signature", "two", "-i", "area=1", "-i", "city=x", "--only", "city", "--only", "area"], "x\t1.0\n"),
        (["--signature", "row", "0.1,0.2,0.7", "--top", "2"], "1\tclass 2\t0.7\n1\tclass 1\t0.2\n"),
        (["--signature", "row", "1,2,3", "--labels", "abc.txt"], "1\ta\t1.0\n1\tb\t2.0\n1\tc\t3.0\n"),
    ],
)
def test_named_inputs_and_only(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, over: str, typed: list[str], printed: str
) -> None:
    """-i takes values and files; --only selects outputs in its order; --top and --labels select classes."""
    monkeypatch.chdir(tmp_path)
    Path("words.txt").write_text("two words\n")
    Path("abc.txt").write_text("a\nb\nc\n")
    np.save("row.npy", np.array([4, 5, 6], np.uint8))
    result = run_cli("predict", over, "--model", "echo", *typed)
    assert (result.stdout, result.stderr, result.code) == (printed, "", 0)


@OVER
def test_only_uses_the_output_filter(run_cli: RunCli, over: str) -> None:
    """The server returns only the selected outputs; an unknown name is refused before the request."""
    typed = ["predict", over, "--model", "echo", "--signature", "two", "area=1", "city=x"]
    assert document(run_cli(*typed, "--only", "area", "--json").stdout)["outputs"] == {"area": [1.0]}
    refused = run_cli(*typed, "--only", "aera")
    assert (refused.stdout, refused.code) == ("", 2)
    assert "hint: did you mean --only area?\n" in refused.stderr


def test_raw_bodies_are_unchanged(run_cli: RunCli) -> None:
    """The body is sent and printed byte for byte, errors included; gRPC has no such mode."""
    body = '{"signature_name":"int32", "instances": [1,2]}'
    typed = run_cli("predict", "--model", "echo", "--raw", body)
    assert (typed.stdout, typed.code) == ('{\n    "predictions": [1, 2\n    ]\n}', 0)
    assert run_cli("predict", "--model", "echo", "--raw", stdin=body) == typed
    refused = run_cli("predict", "--model", "echo", "--raw", "{")
    assert "error" in json.loads(refused.stdout)
    assert (refused.code, refused.stderr.startswith("error: echo at ")) == (5, True)
    assert run_cli("predict", "--model", "echo", "--raw", "--grpc", body).code == 2
    assert run_cli("predict", "--model", "echo", "--raw", "{}", "{}").code == 2


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["--raw", "{}", "-i", "x=1"], "error: --input cannot be used with --raw\n"),
        (["--raw", "{}", "--top", "1"], "error: --top cannot be used with --raw\n"),
    ],
)
def test_contradicting_options_are_refused(run_cli: RunCli, typed: list[str], message: str) -> None:
    """No option is ignored silently."""
    result = run_cli("predict", "--model", "echo", *typed)
    assert (result.stdout, result.code) == ("", 2)
    assert result.stderr.startswith(message)


def test_terminal_shows_bars(registered: ServerRecord, tmp_path: Path) -> None:
    """Bars for scores, a table for several outputs, a summary of a large array."""
    port = str(registered.rest_port)
    argv = [sys.executable, "-m", "tfsctl", "predict", "--host", "127.0.0.1", "--port", port, "--model", "echo"]
    environment = clean_environment(tmp_path)
    with Terminal([*argv, "0.25"], environment) as screen:
        screen.expect("0.25  ██████                    25%\n")
        assert screen.wait() == 0
    with Terminal([*argv, "--signature", "two", "area=1 city=Bern", "area=2 city=(b)"], environment) as screen:
        head, rows = screen.expect("───"), screen.expect("2.0    (b)    2.0    (b)")
        assert head.split()[:4] == ["area", "city", "area", "city"]
        assert rows.replace("─", "").split() == ["1.0", "Bern", "1.0", "Bern", "2.0", "(b)", "2.0", "(b)"]
        assert screen.wait() == 0
    with Terminal([*argv, "--signature", "any", json.dumps([list(range(100))])], environment) as screen:
        screen.expect("float32 [100]: 0.0 1.0 2.0 … 99.0, 0.0 to 99.0, mean 49.5\n")
        assert screen.wait() == 0


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_unloaded_version_is_followed(tmp_path: Path, transport: Literal["rest", "grpc"]) -> None:
    """If the version is replaced, the new version answers with its own signature, and a note says so."""
    base = tmp_path / "m"
    write_echo_model(base / "1", {"serving_default": {"x": ("float32", (None,))}})
    requests = []

    def send(served: ModelMetadata, model: ModelRef) -> Prediction:
        requests.append((served.version, model.version))
        if served.version == 1:
            write_echo_model(tmp_path / "2", {"serving_default": {"n": ("int32", (None,))}})
            (tmp_path / "2").rename(base / "2")
            while client.status(ModelRef("m"))[-1].state != "END":
                time.sleep(0.1)
        (spec,) = served.signatures["serving_default"].inputs
        return client.predict(model, {spec.name: np.array([5], np.int32 if spec.name == "n" else np.float32)})

    with running_server({"m": base}, tmp_path) as served:
        target = Target(ModelRef("m"), served.host, served.rest_port, served.grpc_port, transport)
        with target.connect() as client:
            assert request_pinned_version(client, target, send).outputs["n"].tolist() == [5]
            assert requests == [(1, 1), (2, None)]
            pinned = replace(target, model=ModelRef("m", version=2))
            with pytest.raises(NotFound):
                request_pinned_version(
                    client, pinned, lambda _served, _model: client.predict(ModelRef("m", version=1), {})
                )


@OVER
@pytest.mark.parametrize(
    ("typed", "code", "message"),
    [
        (
            ["--model", "half_plus_two", "great"],
            2,
            "error: 'great' is not float32; serving_default takes x float32 [batch]\nhint: for example: 1.0\n",
        ),
        (
            ["--model", "half_plus_two"],
            2,
            'error: nothing to predict on\nhint: tfsctl predict "some text"; tfsctl metadata shows the inputs\n',
        ),
        (
            ["--model", "echo", "--signature", "two", "are=1"],
            2,
            "error: there is no input 'are' (did you mean 'area'?); two takes area float32 [batch], city string [batch]\n"
            'hint: for example: area=1.0 city="some text"\n',
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
            "cause: that version is not loaded: by default a server keeps only the newest version\n"
            "hint: tfsctl status lists the loaded versions; without --version the latest is used\n",
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
def test_errors_are_printed_to_stderr(
    run_cli: RunCli, registered: ServerRecord, over: str, typed: list[str], code: int, message: str
) -> None:
    """Stdout is empty; stderr has an error and a hint; the exit code tells the kind of error."""
    port = registered.rest_port if over == "--rest" else registered.grpc_port
    expected = message.format(
        address=f"127.0.0.1:{port}",
        models=", ".join(registered.models),
        running=f"test ({'+'.join(registered.models)}; REST {registered.rest_port}, gRPC {registered.grpc_port})",
    )
    result = run_cli("predict", over, *typed)
    assert (result.stdout, result.stderr, result.code) == ("", expected, code)


def test_float16_goes_over_grpc_and_rest_says_so(run_cli: RunCli) -> None:
    """TensorFlow Serving's REST API cannot carry float16; the hint names gRPC."""
    typed = ["predict", "--model", "echo", "--signature", "float16", "1.5"]
    assert run_cli(*typed, "--grpc").stdout == "1.5\n"
    refused = run_cli(*typed, "--rest")
    assert (refused.code, refused.stdout) == (5, "")
    assert refused.stderr.endswith("hint: use gRPC, which supports every dtype: --grpc\n")


def test_an_address_needs_no_running_server(run_cli: RunCli, served: Served) -> None:
    """--host and --port reach a server that tfsctl did not start."""
    result = run_cli("predict", "--host", "localhost", "--port", served.grpc_port, "--grpc", "--model", "echo", "5")
    assert (result.stdout, result.code) == ("5.0\n", 0)


@OVER
def test_no_server_is_unreachable(run_cli: RunCli, over: str) -> None:
    """A closed port ends with exit code 3 and the same message over both transports."""
    result = run_cli("predict", over, "--host", "127.0.0.1", "--port", "9", "--model", "echo", "5")
    assert (result.stderr, result.code) == (
        "error: no answer from 127.0.0.1:9: Connection refused\ncause: no program listens on that port\n"
        "hint: tfsctl ps lists the running servers; tfsctl serve PATH starts a server\n",
        3,
    )


def test_an_unknown_option_is_not_an_input(run_cli: RunCli) -> None:
    """Only numbers may begin with a dash; a misspelt option is a usage error with a suggestion."""
    result = run_cli("predict", "--modle", "echo", "5")
    assert result.code == 2
    assert "--modle" in result.stderr
    assert "--model" in result.stderr.replace("--modle", "")


def test_option_precedence(run_cli: RunCli, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """An option on the command line overrides its environment variable."""
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
    received = threading.Event()
    with slow_server(received) as port:
        argv = [sys.executable, "-m", "tfsctl", "predict", over, "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(
            [*argv, "--model", "slow", "1"], env=clean_environment(tmp_path), stderr=subprocess.PIPE, text=True
        )
        assert received.wait(timeout=240)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=240)
    assert process.returncode == 130
    assert "Traceback" not in stderr


@OVER
def test_notes_about_text_go_to_stderr(run_cli: RunCli, over: str, tmp_path: Path) -> None:
    """The answer is printed in any case; with --text, there are no notes."""
    text = ("--model", "echo", "--signature", "text")

    noted = run_cli("predict", over, *text, "txt=great")
    assert (noted.stdout, noted.code) == ("txt=great\n", 0)
    assert noted.stderr == "note: 'txt=great' is sent as text; there is no input 'txt' (did you mean 'text'?)\n"
    assert "4 arguments are 4 rows" in run_cli("predict", over, *text, "what", "a", "great", "movie").stderr
    (tmp_path / "review.txt").write_text("great")
    assert "is sent as text, and not the content" in run_cli("predict", over, *text, tmp_path / "review.txt").stderr

    silent = run_cli("predict", over, *text, "--text", "txt=great", "[1]")
    assert (silent.stdout, silent.stderr, silent.code) == ("txt=great\n[1]\n", "", 0)


@pytest.mark.parametrize("typed", ["{'single': 'quotes'}", '{"instances": ["x"]', "[sic] great"])
def test_broken_json_is_an_error(run_cli: RunCli, typed: str) -> None:
    """It is not scored as text, and the hint works."""
    text = ("--model", "echo", "--signature", "text")
    refused = run_cli("predict", *text, typed)
    assert (refused.stdout, refused.code) == ("", 2)
    assert refused.stderr.endswith("hint: --text sends it as text\n")

    assert run_cli("predict", *text, "--text", typed).stdout == f"{typed}\n"


def test_a_line_that_does_not_fit_is_named(run_cli: RunCli) -> None:
    """The number is that of the line on stdin, and nothing is sent."""
    refused = run_cli("predict", "--model", "half_plus_two", stdin="1\n2, 3\n4\n")
    assert (refused.stdout, refused.code) == ("", 2)
    assert refused.stderr.startswith("error: line 2: 2 rows for x; ")


def test_text_is_refused_with_files(run_cli: RunCli, tmp_path: Path) -> None:
    """For files, --format text is the option; arguments and --format exclude each other."""
    assert "--text cannot be used with --file" in run_cli("predict", "--text", "--file", tmp_path / "a.csv").stderr
    assert "'great' is an argument" in run_cli("predict", "great", "--format", "text").stderr
