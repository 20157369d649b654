"""`tfsctl metadata`: of a running model and of one on disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli_runner import RunCli
from echo_models import write_echo_model
from model_servers import Served
from tfrecords import write_records

from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.engines.registry import records
from tfsctl.engines.server_record import ServerRecord
from tfsctl.serving_config.model_config import ModelConfig
from tfsctl.serving_config.serving_config import ServingConfig

SIGNATURES = {
    "two": {
        "inputs": {
            "area": {"dtype": "float32", "shape": [None], "tensor": "two_area:0"},
            "city": {"dtype": "string", "shape": [None], "tensor": "two_city:0"},
        },
        "outputs": {
            "area": {"dtype": "float32", "shape": [None], "tensor": "two_area_answer:0"},
            "city": {"dtype": "string", "shape": [None], "tensor": "two_city_answer:0"},
        },
        "method_name": "tensorflow/serving/predict",
    }
}
ROWS = (
    "two\tinput\tarea\tfloat32\t[batch]\ntwo\tinput\tcity\tstring\t[batch]\n"
    "two\toutput\tarea\tfloat32\t[batch]\ntwo\toutput\tcity\tstring\t[batch]\n"
)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("over", ["rest", "grpc"])
def test_served_model_signatures(run_cli: RunCli, served: Served, over: str) -> None:
    """Model, version, address, then one line per input and output; the same facts with --json."""
    address = f"127.0.0.1:{served.rest_port if over == 'rest' else served.grpc_port}"
    typed = ["metadata", f"--{over}", "--model", "echo", "--signature", "two"]
    result = run_cli(*typed)
    assert (result.stderr, result.code) == ("", 0)
    assert result.stdout == f"model: echo\nversion: 7\naddress: {address}\ntransport: {over}\n{ROWS}"
    assert json.loads(run_cli(*typed, "--json").stdout) == {
        "model": "echo",
        "version": 7,
        "address": address,
        "transport": over,
        "labels": None,
        "signatures": SIGNATURES,
    }


@pytest.mark.parametrize("version_named", [False, True])
def test_directory_facts_and_signatures(run_cli: RunCli, echo_dir: Path, version_named: bool) -> None:
    """A base directory means its latest version; the files add facts that no server knows."""
    path = echo_dir / "7" if version_named else echo_dir
    size = (echo_dir / "7" / "saved_model.pb").stat().st_size
    result = run_cli("metadata", path, "--signature", "two")
    assert (result.stderr, result.code) == ("", 0)
    assert result.stdout == (
        f"model: echo\nversion: 7\npath: {echo_dir / '7'}\ntensorflow version: 2.21.0\n"
        f"size bytes: {size}\nop count: 2\nwarmup requests: 0\n{ROWS}"
    )
    assert json.loads(run_cli("metadata", path, "--signature", "two", "--json").stdout) == {
        "model": "echo",
        "version": 7,
        "path": str(echo_dir / "7"),
        "tensorflow_version": "2.21.0",
        "size_bytes": size,
        "op_count": 2,
        "ops": ["Identity", "Placeholder"],
        "warmup_requests": 0,
        "fingerprint": None,
        "signatures": SIGNATURES,
    }


@pytest.fixture
def two_versions(tmp_path: Path) -> Path:
    """A model with versions 2 and 10, and other files in the same directory."""
    base = tmp_path / "model"
    write_echo_model(base / "2")
    write_echo_model(base / "10")
    (base / "notes").mkdir()
    return base


def test_the_highest_version_is_the_latest(run_cli: RunCli, two_versions: Path) -> None:
    """Versions are compared as numbers, so 10 comes after 2; --version selects another."""
    assert json.loads(run_cli("metadata", two_versions, "--json").stdout)["version"] == 10
    assert json.loads(run_cli("metadata", two_versions, "--version", 2, "--json").stdout)["version"] == 2
    result = run_cli("metadata", two_versions, "--version", 3)
    assert (result.stdout, result.code) == ("", 4)
    assert result.stderr.startswith(f"error: no version 3 of a model in {two_versions} (existing versions: 2, 10)\n")


def test_savedmodel_in_any_directory(run_cli: RunCli, two_versions: Path, tmp_path: Path) -> None:
    """A directory with a saved_model.pb may have any name; it has no version then."""
    loose = shutil.copytree(two_versions / "2", tmp_path / "loose")
    facts = json.loads(run_cli("metadata", loose, "--json").stdout)
    assert (facts["model"], facts["version"]) == ("loose", None)


def test_invalid_models_are_explained(run_cli: RunCli, tmp_path: Path) -> None:
    """A missing path, an empty directory and a damaged file have exit codes and messages of their own."""
    missing = run_cli("metadata", tmp_path / "nope")
    assert (missing.code, missing.stderr) == (4, f"error: no such directory: {tmp_path / 'nope'}\n")

    (tmp_path / "empty").mkdir()
    empty = run_cli("metadata", tmp_path / "empty")
    assert (empty.code, empty.stdout) == (4, "")
    assert empty.stderr.startswith(
        f"error: no version of a model in {tmp_path / 'empty'}: it has no numbered directory"
    )

    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "1" / "saved_model.pb").write_bytes(b"no protobuf")
    broken = run_cli("metadata", tmp_path / "broken")
    assert broken.code == 1
    assert "saved_model.pb is not a SavedModel" in broken.stderr


def test_a_directory_has_no_labels(run_cli: RunCli, two_versions: Path) -> None:
    """Labels belong to a server's configuration, so --label with a directory is a usage error."""
    result = run_cli("metadata", two_versions, "--label", "stable")
    assert (result.code, result.stderr) == (
        2,
        "error: --label needs a running model: directories have no labels\nhint: use --version N\n",
    )


def test_fingerprint_and_warmup_of_an_export(run_cli: RunCli, sample_models_dir: Path, tmp_path: Path) -> None:
    """TensorFlow's fingerprint, and the number of warmup requests."""
    model = shutil.copytree(sample_models_dir / "half_plus_two", tmp_path / "half_plus_two")
    (version,) = model.glob("[0-9]*")
    facts = json.loads(run_cli("metadata", model, "--json").stdout)
    assert [part.isdecimal() for part in facts["fingerprint"].split("/")] == [True] * 4
    assert "Placeholder" in facts["ops"]
    warmup = version / "assets.extra" / "tf_serving_warmup_requests"
    write_records(warmup, [b"one", b"two"])
    assert "warmup requests: 2\n" in run_cli("metadata", model).stdout
    warmup.write_bytes(b"none of the sort")
    broken = run_cli("metadata", model)
    assert (broken.stdout, broken.code) == ("", 1)
    assert broken.stderr.startswith("error: the version would not be loaded: ")


def test_labels_come_from_the_server_record(run_cli: RunCli, registered: ServerRecord) -> None:
    """TensorFlow Serving's API does not return labels."""
    models = (ModelConfig("echo", "/models/echo", labels={"stable": 7}),)
    launch = LaunchSpec("test", ServingConfig(models, rest_port=0, grpc_port=0), "127.0.0.1")
    records.unregister(registered)
    records.register(registered, launch=launch.to_document())
    assert "labels: stable 7\n" in run_cli("metadata", "--model", "echo").stdout
    assert json.loads(run_cli("metadata", "--model", "echo", "--json").stdout)["labels"] == {"stable": 7}


@pytest.mark.parametrize("option", [["--port", "1"], ["--host", "h"], ["--server", "s"], ["--url", "http://h/"]])
def test_a_directory_and_the_address_of_a_server_are_refused(
    run_cli: RunCli, two_versions: Path, option: list[str]
) -> None:
    """The option would be ignored; the environment variables of other commands are."""
    refused = run_cli("metadata", two_versions, *option)
    assert (refused.stdout, refused.code) == ("", 2)
    assert f"names a directory, and {option[0]} chooses a server" in refused.stderr
    assert f"write --model {two_versions.name}; for the directory remove {option[0]}" in refused.stderr


def test_the_environment_names_no_server_for_a_directory(
    run_cli: RunCli, two_versions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TFSCTL_PORT is for the commands that need a server."""
    monkeypatch.setenv("TFSCTL_PORT", "1")
    assert run_cli("metadata", two_versions).code == 0


def test_hint_without_server_or_path(run_cli: RunCli) -> None:
    """If no server runs and nothing is named, the hint says how to start or name one."""
    result = run_cli("metadata")
    assert (result.stdout, result.code) == ("", 4)
    assert result.stderr == (
        "error: no server started by tfsctl is running\n"
        "hint: start one with tfsctl serve PATH; --model NAME --port PORT uses another server\n"
    )
