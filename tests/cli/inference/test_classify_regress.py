"""`tfsctl classify` and `tfsctl regress`, over both transports, against models that a real TensorFlow Serving served."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest
from cli_runner import RunCli
from locations import RECORDED
from model_servers import Served, running_server

from tfsctl.cli.options.target import Target
from tfsctl.cli.repl.line_handler import handle_line
from tfsctl.cli.repl.line_result import LineResult
from tfsctl.cli.repl.repl_session import ReplSession
from tfsctl.core.types import ModelRef
from tfsctl.engines.registry import records
from tfsctl.engines.server_record import ServerRecord

pytestmark = pytest.mark.server

MODELS = RECORDED / "models"
HALF = ("--model", "half_plus_two")
OVER = pytest.mark.parametrize("over", ["--rest", "--grpc"])


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The recorded `half_plus_two` and `zoo`, whose signatures classify and regress."""
    models = {name: MODELS / name for name in ("half_plus_two", "zoo")}
    with running_server(models, tmp_path_factory.mktemp("classifiers")) as server:
        yield server


@pytest.fixture(autouse=True)
def _registered(classifiers: Served) -> None:
    ports = (classifiers.host, classifiers.rest_port, classifiers.grpc_port)
    models = tuple(classifiers.models)
    records.register(ServerRecord("test", "embedded", *ports, models, os.getpid(), None, time.time(), None))


@OVER
@pytest.mark.parametrize(
    ("typed", "printed"),
    [
        (["regress", *HALF, "--signature", "regress_x_to_y", "x=1.0", "x=2.5"], "2.5\n3.25\n"),
        (["regress", *HALF, "--signature", "regress_x_to_y", "x=1"], "2.5\n"),
        (["regress", *HALF, "--signature", "regress_x_to_y", "-i", "x=-1.0"], "1.5\n"),
        (["regress", *HALF, "--signature", "regress_x_to_y", '{"examples": [{}, {"x": 3}], "context": {"x": 1}}'],
         "2.5\n3.5\n"),
        (["regress", "--model", "zoo", "x=1"], "2.0\n"),
        (["classify", *HALF, "--signature", "classify_labels", "x=2.0"], "1\tlbl\t3.0\n1\tlbl\t4.0\n"),
        (["classify", *HALF, "--signature", "classify_labels", "--top", "1", "x=2.0"], "1\tlbl\t4.0\n"),
        (["classify", *HALF, "--signature", "classify_x_to_y", "x=1.0", "x=2.0"],
         "1\tclass 0\t2.5\n2\tclass 0\t3.0\n"),
        (["regress", *HALF, "--signature", "regress_x_to_y", "--signature", "regress_x_to_y2", "x=2.0"],
         "regress_x_to_y\t3.0\nregress_x_to_y2\t3.0\n"),
        (["classify", *HALF, "--signature", "classify_x_to_y", "--regress", "regress_x_to_y2", "x=2.0"],
         "classify_x_to_y\t1\tclass 0\t3.0\nregress_x_to_y2\t3.0\n"),
    ],
)  # fmt: skip
def test_features_become_examples(run_cli: RunCli, over: str, typed: list[str], printed: str) -> None:
    """One value per line, or the number of a row and a class; several signatures have headings."""
    result = run_cli(typed[0], over, *typed[1:])
    assert (result.stdout, result.stderr, result.code) == (printed, "", 0)


@OVER
def test_json_is_one_document(run_cli: RunCli, over: str) -> None:
    """Keys and values are the same over both transports; bytes are base64, and NaN is bare."""
    typed = ["--signature", "classify_labels", "--regress", "regress_x_to_y", "--json", "x=1.0", "x=2.0"]
    answer = json.loads(run_cli("classify", over, *HALF, *typed).stdout)
    assert 0 < answer.pop("latency_ms") < 60_000
    labels = [[{"label": "lbl", "index": 0, "score": low}, {"label": "lbl", "index": 1, "score": high}]
              for low, high in ((2.5, 3.5), (3.0, 4.0))]  # fmt: skip
    results = {"classify_labels": labels, "regress_x_to_y": [2.5, 3.0]}
    assert answer == {"model": "half_plus_two", "version": 123, "results": results}
    (one,) = json.loads(run_cli("regress", over, "--model", "zoo", "--json", "x=0.1").stdout)["results"].values()
    assert one == [0.2]


def test_several_signatures_use_one_call(run_cli: RunCli) -> None:
    """Over gRPC, TensorFlow Serving refuses a signature named twice in a MultiInference; REST sends two requests."""
    twice = ["regress", *HALF, "--signature", "regress_x_to_y", "--signature", "regress_x_to_y", "x=1.0"]
    refused = run_cli(*twice, "--grpc")
    assert (refused.stdout, refused.code) == ("", 5)
    assert "Duplicate evaluation of signature: regress_x_to_y" in refused.stderr
    assert run_cli(*twice, "--rest").code == 0


@OVER
@pytest.mark.parametrize(
    ("typed", "code", "message"),
    [
        (["regress", *HALF, "x=1"], 2, "half_plus_two has several signatures for regress: "),
        (["regress", *HALF, "--signature", "regres_x_to_y", "x=1"], 4, "did you mean --signature regress_x_to_y?"),
        (["regress", *HALF, "--signature", "regress_x_to_y", "2"], 2, "'2' has no feature name"),
        (["regress", *HALF, "--signature", "regress_x_to_y", "x=two"], 5, "Data type: string but expected type: float"),
        (["regress", *HALF, "--signature", "regress_x_to_y", "y=2"], 5, "Feature: x (data type: float) is required"),
        (
            ["classify", *HALF, "--signature", "regress_x_to_y", "x=2"],
            2,
            "hint: --signature classify_classes_only supports it\n",
        ),
        (
            ["regress", *HALF, "--signature", "serving_default", "x=2"],
            2,
            "does not support regress, which needs the input inputs",
        ),
        (["classify", *HALF, "--version", "9", "x=2"], 4, "half_plus_two version 9 at "),
    ],
)
def test_errors_are_explained(run_cli: RunCli, over: str, typed: list[str], code: int, message: str) -> None:
    """The error is found before sending if possible, otherwise it is the server's; stdout is empty."""
    result = run_cli(typed[0], over, *typed[1:])
    assert (result.stdout, result.code) == ("", code)
    assert message in result.stderr


REGRESS = ["regress", *HALF, "--signature", "regress_x_to_y"]


@pytest.mark.parametrize(
    ("options", "stdin", "printed"),
    [
        ([], "x=2.0\nx=4.0\n", "3.0\n4.0\n"),
        (["-"], '{"x": 2.0}\nx=4.0', "3.0\n4.0\n"),
        (["--format", "jsonl"], '{"x": 2.0}\n{"x": 4.0}\n', "3.0\n4.0\n"),
        (["--format", "json"], '[{"x": 2.0},\n {"x": 4.0}]', "3.0\n4.0\n"),
        (["--format", "json"], '{"examples": [\n{}],\n"context": {"x": 2.0}}', "3.0\n"),
    ],
)
def test_stdin_is_lines_or_one_document(run_cli: RunCli, options: list[str], stdin: str, printed: str) -> None:
    """--format decides, not the first character."""
    result = run_cli(*REGRESS, *options, stdin=stdin)
    assert (result.stdout, result.stderr, result.code) == (printed, "", 0)


@pytest.mark.parametrize(
    ("options", "stdin", "message"),
    [
        ([], '[{"x": 2.0}, {"x": 4.0}]', "line 1 is not one example"),
        ([], '[\n{"x": 2.0}]', "line 1: '[' looks like JSON, but is not valid JSON"),
        ([], "x=1\n\nx=2\n", "line 2: '' has no feature name"),
        ([], "x=[1", "line 1: the value '[1' looks like JSON, but is not valid JSON"),
        (["--format", "jsonl"], "x=1\n", "line 1: 'x=1' is not a JSON object"),
        (["--format", "json"], "x=1\n", "standard input is not a JSON object or list"),
        (["--format", "json"], "[1", "'[1' looks like JSON, but is not valid JSON"),
        (["--format", "json", "x=1"], "", "--format applies to stdin, but the examples are arguments"),
        (["-", "-i", "x=1"], "x=2", "-i cannot be used with -, which reads the examples from stdin"),
    ],
)
def test_stdin_that_is_something_else(run_cli: RunCli, options: list[str], stdin: str, message: str) -> None:
    """The error names the line, and nothing is sent."""
    result = run_cli(*REGRESS, *options, stdin=stdin)
    assert (result.stdout, result.code) == ("", 2)
    assert f"error: {message}" in result.stderr


def test_raw_bodies_are_posted_to_their_verb(run_cli: RunCli) -> None:
    """--raw posts to :classify and :regress, whatever is in it."""
    body = '{"signature_name": "regress_x_to_y", "examples": [{"x": 2.0}]}'
    assert json.loads(run_cli("regress", *HALF, "--raw", body).stdout) == {"results": [3.0]}
    assert run_cli("classify", *HALF, "--raw", body).code == 5


@pytest.mark.parametrize("over", ["rest", "grpc"])
def test_the_repl_classifies_and_regresses(classifiers: Served, over: str) -> None:
    """:verb chooses the method; the signature is the chosen one, or the one that fits."""
    target = Target(ModelRef("zoo"), classifiers.host, classifiers.rest_port, classifiers.grpc_port, "rest")
    with ReplSession(target) as session:
        handle_line(session, f":{over}")
        assert handle_line(session, ":verb regress").notes == ("verb: regress",)
        assert handle_line(session, "x=1") == LineResult(answer=("2.0",))
        assert handle_line(session, "-i x=3") == LineResult(answer=("6.0",))
        assert handle_line(session, ":verb classify").notes == ("verb: classify",)
        assert handle_line(session, "x=1.0") == LineResult(answer=("1\ta\t1.0", "1\tb\t0.0"))
        assert handle_line(session, ":verb predict").notes == ("verb: predict",)
        assert handle_line(session, "a=1 s=x") == LineResult(answer=("a2 2.0  s2 xx",))
        assert handle_line(session, ":verb guess").error is not None
