"""`tfsctl predict` and `sample` for signatures that parse tf.Examples, over both transports."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_runner import RunCli
from locations import RECORDED
from model_servers import Served, running_server

from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.engines.registry import records
from tfsctl.engines.server_record import ServerRecord
from tfsctl.serving_config.model_config import ModelConfig
from tfsctl.serving_config.serving_config import ServingConfig

pytestmark = pytest.mark.server

BASE = RECORDED / "models" / "half_plus_two"
OVER = pytest.mark.parametrize("over", ["--rest", "--grpc"])
PREDICT = ("predict", "--model", "half_plus_two", "--signature", "predict_examples", "--only", "y")


@pytest.fixture(scope="module")
def half_plus_two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The recorded model, whose signature `predict_examples` parses the features x and x2."""
    with running_server({"half_plus_two": BASE}, tmp_path_factory.mktemp("examples")) as server:
        yield server


@pytest.fixture
def register(half_plus_two: Served) -> None:
    """Register the server with its launch document, so that the model's directory is known."""
    spec = LaunchSpec("test", ServingConfig(models=(ModelConfig("half_plus_two", str(BASE)),)), half_plus_two.host)
    ports = (half_plus_two.host, half_plus_two.rest_port, half_plus_two.grpc_port)
    record = ServerRecord("test", "embedded", *ports, ("half_plus_two",), os.getpid(), None, time.time(), None)
    records.register(record, launch=spec.to_document())


@OVER
@pytest.mark.usefixtures("register")
@pytest.mark.parametrize(
    ("typed", "printed"),
    [
        (["x=1"], "2.5\n"),
        (["x=1 x2=7", "x=2.0"], "2.5\n3.0\n"),
        (['{"x": 1}', '[{"x": [2]}]'], "2.5\n3.0\n"),
        (["-i", "x=3"], "3.5\n"),
    ],
)
def test_features_are_predicted(run_cli: RunCli, over: str, typed: list[str], printed: str) -> None:
    """The signature is known to parse them."""
    result = run_cli(*PREDICT, over, *typed)
    assert (result.stdout, result.stderr, result.code) == (printed, "", 0)


@OVER
def test_features_of_a_remote_server(run_cli: RunCli, half_plus_two: Served, over: str) -> None:
    """The input's name or --example decides; integers are sent again as floats if the model reads floats."""
    port = half_plus_two.rest_port if over == "--rest" else half_plus_two.grpc_port
    address = ("--host", half_plus_two.host, "--port", port)
    result = run_cli(*PREDICT, over, *address, "--example", "x=1", "x=2.0")
    assert (result.stdout, result.stderr, result.code) == ("2.5\n3.0\n", "", 0)
    assert run_cli(*PREDICT, over, *address, "x=1").stdout == "2.5\n"
    other = ("predict", "--model", "half_plus_two", "--signature", "regress_x_to_y", over, *address, "x=1")
    refused = run_cli(*other)
    assert refused.code == 5
    assert refused.stderr.endswith("hint: tfsctl predict --example FEATURE=VALUE builds a tf.Example\n")
    assert run_cli(*other, "--example").stdout == "2.5\n"


ROWS = {
    "rows.csv": "x,x2,other\n1.0,0,a\n2,0,b\n",
    "renamed.csv": "feature,x2\n1,0\n2,0.5\n",
    "rows.jsonl": '{"x": 1.0}\n{"x": [2.0]}\n',
}


@OVER
@pytest.mark.usefixtures("register")
@pytest.mark.parametrize(
    ("name", "options"), [("rows.csv", ()), ("renamed.csv", ("--column", "x=feature")), ("rows.jsonl", ())]
)
def test_files_of_features(run_cli: RunCli, tmp_path: Path, over: str, name: str, options: list[str]) -> None:
    """Columns are features, with the types that the signature parses."""
    (tmp_path / name).write_text(ROWS[name])
    result = run_cli(*PREDICT, over, "--file", tmp_path / name, *options)
    assert (result.stdout, result.code) == ("2.5\n3.0\n", 0), result.stderr


@OVER
def test_files_of_features_for_a_remote_server(
    run_cli: RunCli, half_plus_two: Served, tmp_path: Path, over: str
) -> None:
    """The values of the first rows decide the types."""
    (tmp_path / "rows.csv").write_text("x\n1.0\n2\n")
    port = half_plus_two.rest_port if over == "--rest" else half_plus_two.grpc_port
    address = ("--host", half_plus_two.host, "--port", port)
    result = run_cli(*PREDICT, over, *address, "--example", "--file", tmp_path / "rows.csv")
    assert (result.stdout, result.code) == ("2.5\n3.0\n", 0), result.stderr


@pytest.mark.usefixtures("register")
def test_lines_are_features(run_cli: RunCli) -> None:
    """One example per line; an error names the line, and the example in the hint works."""
    result = run_cli(*PREDICT, stdin='x=1\n{"x": 2}\n')
    assert (result.stdout, result.code) == ("2.5\n3.0\n", 0)
    refused = run_cli(*PREDICT, stdin="x=1\ny=1\n")
    assert refused.code == 2
    assert refused.stderr.startswith(
        "error: line 2: there is no feature 'y'; predict_examples reads tf.Examples with x "
    )
    hint = refused.stderr.rpartition("hint: for example: ")[2].strip()
    assert run_cli(*PREDICT, hint).code == 0


@pytest.mark.usefixtures("register")
@pytest.mark.parametrize("signature", ["predict_examples", "classify_labels", "regress_x_to_y"])
def test_samples_are_answered(run_cli: RunCli, signature: str) -> None:
    """The body has the required features, for the method of the signature."""
    sample = run_cli("sample", "half_plus_two", "--signature", signature)
    verb = signature.partition("_")[0]
    answered = run_cli(verb, "--model", "half_plus_two", "--raw", sample.stdout.strip())
    assert (sample.stderr, answered.code) == ("", 0), answered.stderr
    assert "2.5" in json.dumps(json.loads(answered.stdout))


def test_example_is_refused_for_other_signatures(run_cli: RunCli, half_plus_two: Served) -> None:
    """Its input would have to take one string per row."""
    address = ("--host", half_plus_two.host, "--port", half_plus_two.rest_port, "--model", "half_plus_two")
    result = run_cli("predict", *address, "--example", "x=1")
    assert (result.code, result.stdout) == (2, "")
    assert result.stderr.endswith("hint: remove --example\n")
    assert run_cli("predict", *address, "--example", "--text", "x=1").code == 2


def test_swapped_ports_are_named(run_cli: RunCli, half_plus_two: Served, register: None) -> None:  # noqa: ARG001
    """For a server that tfsctl knows before anything is sent, for others by the answer; the hint works."""
    rest, grpc = half_plus_two.rest_port, half_plus_two.grpc_port
    refused = run_cli("status", "half_plus_two", "--port", grpc)
    assert (refused.code, refused.stderr) == (
        3,
        f"error: port {grpc} is the gRPC port of test, not its REST port\nhint: add --grpc, or use --port {rest}\n",
    )
    assert run_cli("status", "half_plus_two", "--port", grpc, "--grpc").code == 0
    refused = run_cli("status", "half_plus_two", "--grpc", "--port", rest)
    assert (refused.code, refused.stderr) == (
        3,
        f"error: port {rest} is the REST port of test, not its gRPC port\nhint: remove --grpc, or use --port {grpc}\n",
    )
    assert run_cli("status", "half_plus_two", "--port", rest).code == 0
