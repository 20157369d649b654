"""`tfsctl sample`: the model accepts the example request."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runner import RunCli
from graph_models import GraphModel, write_rows_model
from model_servers import Served
from rest_requests import rest


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    "typed",
    [
        ["amazon_review"],
        ["house_price"],
        ["half_plus_two"],
        *(["echo", "--signature", name] for name in ("row", "scalar", "any", "two", "text_column", "bool", "int64")),
    ],
    ids=" ".join,
)
def test_sample_is_accepted_by_the_model(run_cli: RunCli, served: Served, typed: list[str]) -> None:
    """Every signature of every sample model accepts its example over REST."""
    result = run_cli("sample", *typed)
    assert (result.stderr, result.code) == ("", 0)
    status, body, _ = rest(served, "POST", f"/v1/models/{typed[0]}:predict", result.stdout.encode())
    assert status == 200, body


def test_sample_of_a_directory_to_a_file(run_cli: RunCli, echo_dir: Path, tmp_path: Path) -> None:
    """No server is needed; the message names the next command."""
    file = tmp_path / "request.json"
    result = run_cli("sample", echo_dir, "--output", file)
    assert (result.stdout, result.code) == ("", 0)
    assert result.stderr == f"wrote {file}; send it with: tfsctl predict --raw < {file}\n"
    assert json.loads(file.read_text()) == {"instances": [1.0]}
    refused = run_cli("sample", echo_dir, "--output", tmp_path / "no" / "request.json")
    assert refused.code == 1
    assert refused.stderr == f"error: cannot write {tmp_path / 'no' / 'request.json'}: No such file or directory\n"


@pytest.mark.usefixtures("registered")
def test_sample_of_a_running_model_to_a_file(run_cli: RunCli, tmp_path: Path) -> None:
    """The command in the message names the model, because the server has several."""
    result = run_cli("sample", "echo", "--output", tmp_path / "request.json")
    command = f"tfsctl predict --model echo --raw < {tmp_path}/request.json"
    assert result.stderr == f"wrote {tmp_path}/request.json; send it with: {command}\n"


@pytest.mark.usefixtures("registered")
def test_sample_with_a_dtype_that_needs_grpc(run_cli: RunCli) -> None:
    """A note says so, and `tfsctl predict --grpc` takes the same document."""
    result = run_cli("sample", "echo", "--signature", "float16")
    assert "REST does not support every dtype" in result.stderr
    answered = run_cli("predict", "--grpc", "--model", "echo", "--signature", "float16", result.stdout.strip())
    assert (answered.stdout, answered.code) == ("1.0\n", 0)


def test_sample_refuses_example_signatures(run_cli: RunCli, tmp_path: Path) -> None:
    """A signature does not tell which features its tf.Examples have."""
    write_rows_model(tmp_path / "rows" / "1")
    result = run_cli("sample", tmp_path / "rows", "--signature", "kinds")
    assert (result.stdout, result.code) == ("", 2)
    assert result.stderr.endswith("hint: name the features: tfsctl classify FEATURE=VALUE\n")


@pytest.mark.usefixtures("registered")
def test_possible_example_inputs_are_noted(run_cli: RunCli) -> None:
    """The names of inputs and outputs suggest it; signatures that Keras writes have no method name."""
    result = run_cli("sample", "half_plus_two", "--signature", "regress_x_to_y")
    assert json.loads(result.stdout) == {"signature_name": "regress_x_to_y", "instances": ["some text"]}
    assert result.stderr == (
        "note: if regress_x_to_y parses tf.Examples, tfsctl predict --example FEATURE=VALUE builds them\n"
    )


def test_with_a_port_a_bare_name_is_a_running_model(
    run_cli: RunCli, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if a directory has that name."""
    (tmp_path / "half_plus_two").mkdir()
    monkeypatch.chdir(tmp_path)
    port = ["--host", served.host, "--port", served.rest_port]
    assert run_cli("sample", "half_plus_two", *port).code == 0
    assert run_cli("sample", "./half_plus_two", *port).code != 0


def test_sample_of_a_model_that_no_request_can_call_is_refused(run_cli: RunCli, tmp_path: Path) -> None:
    """A request with dense values for a sparse tensor would be refused by the server."""
    graph = GraphModel()
    graph.write(tmp_path / "none" / "1")
    graph.signature({"x": graph.input("x")}, {"y": "x"})
    graph.meta_graph.signature_def["serving_default"].inputs["x"].coo_sparse.values_tensor_name = "x:0"
    graph.write(tmp_path / "sparse" / "1")

    none, sparse = run_cli("sample", tmp_path / "none"), run_cli("sample", tmp_path / "sparse")

    assert (none.code, none.stderr) == (4, "error: none has no signatures, so it answers no requests\n")
    assert sparse.code == 2
    assert sparse.stderr == (
        "error: no request can call serving_default: x is a sparse tensor, and requests and responses hold dense tensors\n"
    )
