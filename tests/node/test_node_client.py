"""An official gRPC client that is not Python: @grpc/grpc-js, in plain text and over TLS. Needs Node.js and npm."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from echo_models import write_echo_model
from google.protobuf import descriptor_pb2
from model_servers import running_flags
from scale_models import write_scale_model

from tfsctl.core import protos
from tfsctl.server.grpc import reflection
from tfsctl.serving_config import messages
from tfsctl.serving_config.model_config import ModelConfig, model_config_text

HERE = Path(__file__).parent
pytestmark = pytest.mark.node


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the client, its packages, and the descriptors of all services."""
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "client.js"):
        shutil.copy(HERE / name, folder)
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"],
        cwd=folder,
        check=True,
        timeout=150,
    )
    (folder / "services.pb").write_bytes(_descriptors().SerializeToString())
    return folder


def _descriptors() -> descriptor_pb2.FileDescriptorSet:
    """The files of every service, each after those it imports."""
    pool = reflection._pool()
    found: dict[str, Any] = {}

    def add(files: Iterable[Any]) -> None:
        for file in files:
            add(file.dependencies)
            found.setdefault(file.name, file)

    services = ["PredictionService", "ModelService"]
    add(protos.service(name).file for name in services)
    add(pool.FindFileContainingSymbol(name) for name in (*reflection.SERVICES, "grpc.health.v1.Health"))
    descriptors = descriptor_pb2.FileDescriptorSet()
    for file in found.values():
        file.CopyToProto(descriptors.file.add())
    return descriptors


@pytest.fixture(scope="module")
def flags(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The flags that name an echo and a slow model, and turn the health service on."""
    base = tmp_path_factory.mktemp("models")
    write_echo_model(base / "echo" / "7")
    write_scale_model(base / "slow" / "1", 1.0, matmul_size=5000)
    models = [ModelConfig(name, str(base / name)) for name in ("echo", "slow")]
    (base / "models.config").write_text(model_config_text(models))
    return [f"--model_config_file={base / 'models.config'}", "--enable_grpc_healthcheck_service"]


@pytest.fixture(scope="module", params=["plain", "mutual TLS"])
def answers(
    request: pytest.FixtureRequest, client: Path, flags: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Any]]:
    """What the client was answered, in plain text and over mutual TLS."""
    tls = request.param == "mutual TLS"
    folder = tmp_path_factory.mktemp("server")
    pems = _credentials(folder) if tls else []
    extra = [f"--ssl_config_file={folder / 'ssl.config'}"] if tls else []
    with running_flags([*flags, *extra], folder) as server:
        target = f"{server.host}:{server.grpc_port}"
        argv = ["node", "client.js", "services.pb", target, *pems]
        done = subprocess.run(argv, cwd=client, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        yield json.loads(done.stdout)


def _credentials(folder: Path) -> list[str]:
    """Write an SSLConfig for mutual TLS; the PEM files of the client: CA, key, certificate."""
    ca = trustme.CA()
    server, client = ca.issue_cert("localhost"), ca.issue_cert("client")
    config = messages.SSLConfig(
        server_key=server.private_key_pem.bytes().decode(),
        server_cert=server.cert_chain_pems[0].bytes().decode(),
        custom_ca=ca.cert_pem.bytes().decode(),
        client_verify=True,
    )
    (folder / "ssl.config").write_text(str(config))
    blobs = {"ca": ca.cert_pem, "key": client.private_key_pem, "certificate": client.cert_chain_pems[0]}
    for name, blob in blobs.items():
        blob.write_to_path(str(folder / f"{name}.pem"))
    return [str(folder / f"{name}.pem") for name in blobs]


def test_predictions(answers: dict[str, Any]) -> None:
    """Numbers, text, a gzipped request, and 12 MB each way."""
    assert answers["predict"] == [1.5, 2.5]
    assert answers["gzip"] == [3.5]
    assert answers["text"] == "gr\u00fc\u00df"
    assert answers["large"] == 3_000_000


def test_refusals(answers: dict[str, Any]) -> None:
    """The code and the message of an error, and a deadline that passes."""
    assert answers["unknown"] == {"code": 5, "details": "Servable not found for request: Latest(nope)"}
    assert answers["late"]["code"] == 4


def test_status_and_health(answers: dict[str, Any]) -> None:
    """The model's version, and both methods of the health service."""
    assert [(one["version"], one["state"]) for one in answers["status"]] == [("7", "AVAILABLE")]
    assert answers["check"] == answers["watch"] == {"status": "SERVING"}


def test_reflection(answers: dict[str, Any]) -> None:
    """The services by name, over a stream both ways."""
    assert "tensorflow.serving.PredictionService" in answers["services"]
