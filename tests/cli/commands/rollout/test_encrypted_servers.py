"""`compare`, `label`, `promote` and `rollback` on servers whose gRPC API is encrypted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cli_runner import RunCli, document
from model_servers import Served, running_flags
from ports import HOST
from scale_models import write_scale_model

import tfsctl
from tfsctl.serving_config import messages

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("_nothing_is_left")]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The model `scale` of two versions, rows for it, a server's certificate and key, and the authority's certificate."""
    for version in (1, 2):
        write_scale_model(tmp_path / "scale" / str(version), float(version))
    (tmp_path / "rows.csv").write_text("x\n1\n2\n", encoding="utf-8")
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost", HOST)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    leaf.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    return tmp_path


@pytest.fixture
def config(files: Path) -> Path:
    """A model config file with both versions, the first with the label `stable`."""
    path = files / "models.config"
    path.write_text(
        f'model_config_list {{ config {{ name: "scale" base_path: "{files / "scale"}" model_platform: "tensorflow"\n'
        "model_version_policy { specific { versions: 1 versions: 2 } }\n"
        'version_labels { key: "stable" value: 1 } } }\n',
        encoding="utf-8",
    )
    return path


@pytest.fixture
def server(files: Path, config: Path) -> Iterator[Served]:
    """A server that tfsctl does not know, which reads the config file, and whose gRPC API has TLS."""
    ssl = messages.SSLConfig(
        server_key=(files / "key.pem").read_text(encoding="utf-8"),
        server_cert=(files / "cert.pem").read_text(encoding="utf-8"),
    )
    (files / "ssl.config").write_text(str(ssl), encoding="utf-8")
    flags = [f"--model_config_file={config}", f"--ssl_config_file={files / 'ssl.config'}"]
    flags.append("--allow_version_labels_for_unavailable_models=true")
    with running_flags(flags, files) as running:
        yield running


def test_labels_of_a_server_with_a_config_file(files: Path, config: Path, server: Served, run_cli: RunCli) -> None:
    """--ca trusts the server's certificate; without it, the command fails and the file stays as it was."""
    at = ("--config", config, "--host", "localhost", "--port", server.grpc_port)
    before = config.read_text(encoding="utf-8")
    refused = run_cli("promote", "scale", "--version", "2", *at, "--tls")
    assert refused.code == 3, refused.stderr
    assert "certificate" in refused.stderr
    assert config.read_text(encoding="utf-8") == before

    promoted = document(run_cli, "promote", "scale", "--version", "2", *at, "--ca", files / "ca.pem")
    assert promoted["labels"] == {"stable": 2, "previous": 1}
    back = document(run_cli, "rollback", "scale", *at, "--ca", files / "ca.pem")
    assert back["labels"] == {"stable": 1}
    labelled = document(run_cli, "label", "scale", "canary=2", *at, "--ca", files / "ca.pem")
    listed = document(run_cli, "label", "ls", "scale", *at, "--ca", files / "ca.pem")
    assert labelled["labels"] == listed["labels"] == {"stable": 1, "canary": 2}


def test_comparison_with_a_url(files: Path, server: Served, run_cli: RunCli) -> None:
    """--ca, or `ca` in Python, is used for the URL only: the directory is served without TLS."""
    url, directory = f"grpcs://localhost:{server.grpc_port}/scale@2", files / "scale" / "2"
    found = document(run_cli, "compare", url, directory, "--file", files / "rows.csv", "--ca", files / "ca.pem")
    assert (found["agreement"], found["rows"]) == (1.0, 2)
    assert tfsctl.compare(url, directory, file=files / "rows.csv", ca=files / "ca.pem").agreement == 1.0
    refused = run_cli("compare", url, directory, "--file", files / "rows.csv")
    assert (refused.code, "certificate" in refused.stderr) == (3, True), refused.stderr


def test_comparison_on_a_server_that_tfsctl_started(files: Path, run_cli: RunCli) -> None:
    """Its certificate is trusted without an option."""
    base = files / "scale"
    document(
        run_cli,
        *("serve", "--model", f"scale={base},versions=1,2", "--engine", "embedded", "--detach"),
        *("--rest-port", "0", "--grpc-port", "0", "--ssl-cert", files / "cert.pem", "--ssl-key", files / "key.pem"),
    )
    found = document(run_cli, "compare", "scale@1", "scale@2", "--file", files / "rows.csv")
    assert (found["a"]["version"], found["b"]["version"], found["agreement"]) == (1, 2, 0.0)
