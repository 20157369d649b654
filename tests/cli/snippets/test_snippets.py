"""`--show` and `--dry-run`: the printed program sends the same request, and holds no secrets."""

from __future__ import annotations

import ast
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from cli_runner import RunCli
from fork_servers import ForkServer
from gateways import running_gateway, running_proxy
from model_servers import Served
from ports import HOST
from secure_servers import Secure, secure_server

from tfsctl.clients.connection import Transport
from tfsctl.core import protos, tensors
from tfsctl.engines.server_record import ServerRecord

AWKWARD = 'it\'s "great" $HOME `x` \\ ü 🎬\n!'
ECHO_TEXT = ["--model", "echo", "--signature", "text"]


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """A server with mutual TLS for REST and gRPC."""
    with secure_server(tmp_path_factory.mktemp("secure")) as server:
        yield server


def run(script: str, *shell: str, **environment: str) -> str:
    """Run a printed script with a shell or interpreter that reads stdin; returns its stdout."""
    done = subprocess.run(
        shell, input=script, capture_output=True, text=True, timeout=240, env={**os.environ, **environment}, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def run_official_client(program: str, with_tensorflow: ForkServer) -> str:
    """Run a Python program that imports tensorflow_serving, and so TensorFlow; returns its stdout."""
    done = with_tensorflow.run_script(program)
    assert done.returncode == 0, done.stderr
    return done.stdout


def shown(run_cli: RunCli, *typed: object) -> str:
    """What `predict` prints instead of sending the request."""
    result = run_cli("predict", *typed)
    assert (result.stderr, result.code) == ("", 0)
    return result.stdout


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("program", "shell"), [("curl", ["bash"]), ("python", [sys.executable, "-"])], ids=["curl", "python"]
)
def test_printed_command_sends_the_same_request(run_cli: RunCli, program: str, shell: Sequence[str]) -> None:
    """Quotes and variables in the input are kept; no version is added."""
    printed = shown(run_cli, *ECHO_TEXT, "--show", program, AWKWARD)
    assert "/versions/" not in printed
    output = run(printed, *shell)
    assert (json.loads(output) if program == "curl" else ast.literal_eval(output)) == {"outputs": [AWKWARD]}


@pytest.mark.usefixtures("registered")
def test_version_and_label_are_kept(run_cli: RunCli) -> None:
    """They are part of the URL or of the message."""
    assert "/versions/7:predict" in shown(run_cli, "--model", "echo", "--version", 7, "--show", "curl", "1")
    assert "version.value = 7" in shown(run_cli, "--model", "echo", "--version", 7, "--grpc", "--show", "python", "1")


@pytest.mark.usefixtures("registered")
def test_large_request_uses_a_here_document(run_cli: RunCli) -> None:
    """The body is too long for a command line."""
    numbers = json.dumps([float(value) for value in range(30_000)])
    printed = shown(run_cli, "--model", "echo", "--signature", "any", "--show", "curl", numbers)
    assert "<<'END_OF_REQUEST'" in printed
    assert json.loads(run(printed, "bash"))["outputs"][-1] == 29_999.0


@pytest.mark.usefixtures("registered")
def test_python_grpc_snippet_uses_the_official_client(run_cli: RunCli, with_tensorflow: ForkServer) -> None:
    """It uses tensorflow_serving.apis, as TensorFlow Serving's documentation does."""
    typed = ["--model", "echo", "--signature", "two", "--only", "city", "--grpc", "area=2.5", "city=Zürich"]
    printed = shown(run_cli, *typed, "--show", "python")
    assert "predict_pb2.PredictRequest()" in printed
    assert run_official_client(printed, with_tensorflow).strip() == str({"city": ["Zürich".encode()]})


def words_of(printed: str) -> list[str]:
    """The words a shell makes of a command line."""
    return shlex.split(printed.replace(" \\\n", " "))


def call_like_grpcurl(printed: str) -> tuple[list[str], Any]:
    """Send the JSON of a grpcurl command line to its method; returns the words of the command line and the answer."""
    from google.protobuf import json_format

    words = words_of(printed)
    address, method = words[-2:]
    request = json_format.Parse(words[words.index("-d") + 1], protos.PredictRequest())
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(
            f"/{method}", protos.PredictRequest.SerializeToString, protos.PredictResponse.FromString
        )
        return words, call(request, timeout=240)


def methods_by_reflection(port: int) -> set[str]:
    """The methods that the server's reflection lists, as grpcurl looks them up."""
    from google.protobuf import descriptor_pb2

    request = protos.ServerReflectionRequest(file_containing_symbol="tensorflow.serving.PredictionService")
    with grpc.insecure_channel(f"{HOST}:{port}") as channel:
        call = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            protos.ServerReflectionRequest.SerializeToString,
            protos.ServerReflectionResponse.FromString,
        )
        (response,) = call(iter([request]), timeout=240)
    files = map(descriptor_pb2.FileDescriptorProto.FromString, response.file_descriptor_response.file_descriptor_proto)
    return {
        f"{file.package}.{service.name}/{method.name}"
        for file in files
        for service in file.service
        for method in service.method
    }


@pytest.mark.usefixtures("registered")
def test_a_grpcurl_command_line(run_cli: RunCli, served: Served) -> None:
    """The server's reflection lists the method, the JSON is the message, and the answer is the same."""
    printed = shown(run_cli, *ECHO_TEXT, "--show", "grpcurl", AWKWARD)
    words, response = call_like_grpcurl(printed)
    assert words[:2] == ["grpcurl", "-plaintext"]
    assert words[-1] in methods_by_reflection(served.grpc_port)
    assert tensors.from_proto(response.outputs["text"]).tolist() == [AWKWARD.encode()]
    if shutil.which("grpcurl"):
        assert json.loads(run(printed, "bash"))["outputs"]["text"]["stringVal"]


@pytest.mark.usefixtures("registered")
def test_an_httpie_command_line(run_cli: RunCli) -> None:
    """All arguments of HTTPie, which sends the same request."""
    printed = shown(run_cli, "--model", "echo", "-H", "x-a: b c", "--timeout", "5", "--show", "http", "1.5")
    words = words_of(printed)
    assert words[:5] == ["http", "--timeout", "5", "--ignore-stdin", "--raw"]
    assert json.loads(words[5])["inputs"] == {"x": [1.5]}
    assert words[6] == "POST"
    assert words[7].endswith("/v1/models/echo:predict")
    assert words[8:] == ["x-a:b c"]
    assert json.loads(run(printed, "bash", PATH=BESIDE_PYTHON)) == {"outputs": [1.5]}


BESIDE_PYTHON = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def shown_with_certificates(run_cli: RunCli, secure: Secure, transport: Transport, program: str) -> str:
    """The printed command for a call over mutual TLS with a secret header, which it must not contain."""
    files = ["--ca", secure.tls.ca, "--cert", secure.tls.cert, "--key", secure.tls.key]
    files += ["--header-env", "authorization=Bearer TOKEN"]
    printed = shown(run_cli, *secure.options(transport), *files, "--show", program, "1.5")
    assert str(secure.tls.key) in printed
    assert "s3cret" not in printed
    return printed


@pytest.mark.server
@pytest.mark.parametrize("program", ["curl", "http", "python"])
def test_certificates_are_printed_and_used(
    secure: Secure, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """The same files reach the same server over mutual TLS, with a header from a variable."""
    monkeypatch.setenv("TOKEN", "s3cret")
    printed = shown_with_certificates(run_cli, secure, "rest", program)
    assert "1.5" in run(printed, *([sys.executable, "-"] if program == "python" else ["bash"]), PATH=BESIDE_PYTHON)


@pytest.mark.server
def test_certificates_in_a_program_of_the_official_client(
    secure: Secure, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, with_tensorflow: ForkServer
) -> None:
    """Over gRPC too."""
    monkeypatch.setenv("TOKEN", "s3cret")
    assert "1.5" in run_official_client(shown_with_certificates(run_cli, secure, "grpc", "python"), with_tensorflow)


@pytest.mark.server
def test_a_grpcurl_command_line_with_certificates(secure: Secure, run_cli: RunCli) -> None:
    """Only the words are checked, because grpcurl is not installed."""
    files = ["--ca", secure.tls.ca, "--cert", secure.tls.cert, "--key", secure.tls.key]
    words = words_of(shown(run_cli, *secure.options("grpc"), *files, "--timeout", "5", "--show", "grpcurl", "1.5"))
    assert words[:9] == [
        *("grpcurl", "-cacert", str(secure.tls.ca), "-cert", str(secure.tls.cert), "-key", str(secure.tls.key)),
        *("-max-time", "5"),
    ]
    assert words[-2] == f"localhost:{secure.server.grpc_port}"


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_non_utf8_bytes(run_cli: RunCli, tmp_path: Path, transport: Transport, with_tensorflow: ForkServer) -> None:
    """Base64 in JSON, raw bytes in a message."""
    (tmp_path / "image").write_bytes(b"\x89PNG\r\n\x00\xff'\"$")
    typed = ["--model", "echo", "--signature", "text_bytes", "-i", f"text_bytes=@{tmp_path / 'image'}"]
    output = run_official_client(shown(run_cli, *typed, f"--{transport}", "--show", "python"), with_tensorflow)
    sent = {"b64": "iVBORw0KAP8nIiQ="} if transport == "rest" else b"\x89PNG\r\n\x00\xff'\"$"
    assert ast.literal_eval(output) == {"outputs" if transport == "rest" else "text_bytes": [sent]}
    if transport == "rest":
        assert json.loads(run(shown(run_cli, *typed, "--show", "curl"), "bash")) == {"outputs": [sent]}


@pytest.mark.usefixtures("registered")
def test_shell_syntax_is_quoted(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In names, schemes and values of headers, and in a body that begins with `@`."""
    monkeypatch.setenv("TOKEN", "t")
    touched = tmp_path / "touched"
    for header in (f'x=a"$(touch {touched})" TOKEN', f"x=`touch {touched}` TOKEN", f"x=\\'; touch {touched}; TOKEN"):
        printed = shown(run_cli, "--model", "echo", "--header-env", header, "--show", "curl", "1.5")
        assert json.loads(run(printed, "bash")) == {"outputs": [1.5]}
        assert words_of(printed)[2].endswith("$TOKEN")
    assert not touched.exists()
    assert "--data-raw @file" in shown(run_cli, "--model", "echo", "--raw", "@file", "--show", "curl")


@pytest.mark.usefixtures("registered")
def test_timeouts_have_no_exponent(run_cli: RunCli) -> None:
    """Neither a long nor a short one has an exponent."""
    for seconds in ("1000000", "2.5"):
        words = words_of(
            shown(run_cli, "--model", "echo", "--timeout", seconds, "--connect-timeout", seconds, "--show", "curl", "1")
        )
        assert words[1:5] == ["--max-time", seconds, "--connect-timeout", seconds]


@pytest.mark.parametrize("program", ["curl", "python"])
def test_secrets_are_read_from_variables(
    served: Served, run_cli: RunCli, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """A token is never printed; with its variable set, the printed command works."""
    monkeypatch.setenv("TOKEN", "s3cret")
    with running_gateway(served.rest_port, path="/gw", authorization="Bearer s3cret") as port:
        url = ["--url", f"http://{HOST}:{port}/gw", "--model", "echo", "--show", program]
        printed = shown(run_cli, *url, "--header-env", "authorization=Bearer TOKEN", "1.5")
        shell = ["bash"] if program == "curl" else [sys.executable, "-"]
        assert "1.5" in run(printed, *shell, TOKEN="s3cret")
        typed = run_cli("predict", *url, "-H", "Authorization: Bearer s3cret", "1.5")
        assert "1.5" in run(typed.stdout, *shell, AUTHORIZATION="Bearer s3cret")
    assert "s3cret" not in printed + typed.stdout + typed.stderr
    assert typed.stderr == "note: the value of Authorization is not shown; set it with: export AUTHORIZATION=…\n"


@pytest.mark.usefixtures("registered")
def test_a_dry_run_prints_the_request(run_cli: RunCli, served: Served) -> None:
    """Address, headers and body, over both transports, and as JSON."""
    typed = ["--model", "echo", "-H", "x-a: b", "--dry-run", "1.5"]
    url = f"http://{HOST}:{served.rest_port}/v1/models/echo:predict"
    body = {"signature_name": "serving_default", "inputs": {"x": [1.5]}}
    *head, sent = shown(run_cli, *typed).splitlines()
    assert (head, json.loads(sent)) == ([f"POST {url}", "x-a: b", ""], body)
    assert json.loads(shown(run_cli, *typed, "--json")) == {"url": url, "headers": {"x-a": "b"}, "body": body}
    over_grpc = shown(run_cli, *typed, "--grpc")
    assert over_grpc.startswith(
        f"gRPC {HOST}:{served.grpc_port}/tensorflow.serving.PredictionService/Predict\nx-a: b\n\n"
    )
    assert "float_val: 1.5" in over_grpc or "tensor_content" in over_grpc


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("verb", ["classify", "regress"])
def test_classify_and_regress_requests_are_printed(run_cli: RunCli, verb: str, with_tensorflow: ForkServer) -> None:
    """They are printed for both transports; no request is sent."""
    typed = [verb, "--model", "half_plus_two", "x=2.0"]
    rest = run_cli(*typed, "--show", "curl")
    assert rest.code == 0, rest.stderr
    assert f"/v1/models/half_plus_two:{verb}" in rest.stdout
    assert "results" in json.loads(run(rest.stdout, "bash"))
    program = run_cli(*typed, "--show", "python", "--grpc").stdout
    output = run_official_client(program, with_tensorflow)
    assert ("value: 3" if verb == "regress" else "score: 3") in output
    over_grpc = run_cli(*typed, "--show", "grpcurl")
    assert over_grpc.stdout.rstrip().endswith(f"tensorflow.serving.PredictionService/{verb.capitalize()}")


@pytest.mark.usefixtures("registered")
def test_several_signatures_in_one_program(run_cli: RunCli, with_tensorflow: ForkServer) -> None:
    """MultiInference, as the official client makes it."""
    typed = ["classify", "--model", "half_plus_two", "--signature", "classify_x_to_y", "--regress", "regress_x_to_y"]
    printed = run_cli(*typed, "--grpc", "x=2.0", "--show", "python").stdout
    assert "inference_pb2.MultiInferenceRequest" in printed
    output = run_official_client(printed, with_tensorflow)
    assert "score: 3" in output
    assert "value: 3" in output


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["--grpc", "--show", "curl", "1"], "error: curl supports only REST\n"),
        (["--show", "curl", "--dry-run", "1"], "error: --show and --dry-run cannot be used together\n"),
        (["--show", "curl", "two"], "error: 'two' is not float32"),
    ],
)
def test_unprintable_requests_are_refused(run_cli: RunCli, typed: list[str], words: str) -> None:
    """Before anything is printed; the input is still checked."""
    result = run_cli("predict", "--model", "echo", *typed)
    assert result.stdout == ""
    assert result.code != 0
    assert result.stderr.startswith(words)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("who", ["name:s3cret", "s3cret"])
def test_a_proxy_with_a_password_is_not_shown(run_cli: RunCli, who: str) -> None:
    """A user name in the proxy URL is refused too; a plain URL is printed."""
    with running_proxy() as proxy:
        typed = ["predict", "--model", "echo", "--show", "curl", "1"]
        refused = run_cli(*typed, "--proxy", proxy.url.replace("//", f"//{who}@"))
        assert f"--proxy {proxy.url}" in run_cli(*typed, "--proxy", proxy.url).stdout
    assert (refused.stdout, refused.code) == ("", 2)
    assert refused.stderr.startswith("error: --proxy holds a name or password, which is not shown\n")
    assert "s3cret" not in refused.stderr


def test_show_refuses_files(run_cli: RunCli, registered: ServerRecord, tmp_path: Path) -> None:
    """A file becomes many requests."""
    (tmp_path / "rows.csv").write_text("x\n1\n")
    assert registered.models
    result = run_cli("predict", "--model", "echo", "--file", tmp_path / "rows.csv", "--show", "curl")
    assert (result.stdout, result.code) == ("", 2)
