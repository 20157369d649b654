"""Versions in object stores: uploaded file by file, `saved_model.pb` last."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from model_servers import clean_environment
from ports import free_ports, wait_until_listening
from waiting import wait_for

from tfsctl.core.saved_model import read_saved_model
from tfsctl.core.version_files.file_hashes import compare_files
from tfsctl.errors import ExportError, InvalidInput, VersionTakenError
from tfsctl.exporter.publish.remote import RemoteModel, is_remote

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def remote() -> Iterator[RemoteModel]:
    """A model in fsspec's file system in memory."""
    yield RemoteModel("memory://models", "net")
    fsspec.filesystem("memory").store.clear()
    fsspec.filesystem("memory").pseudo_dirs[:] = [""]


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """The files of a version; they need not be a model."""
    for name in ("saved_model.pb", "variables/variables.index", "assets.extra/tfsctl_manifest.json", "assets/a"):
        (tmp_path / "7" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "7" / name).write_text(name)
    return tmp_path / "7"


def files() -> list[str]:
    """All paths of the file system, in the order in which they were written."""
    return list(fsspec.filesystem("memory").store)


def test_manifest_is_uploaded_first_and_saved_model_pb_last(remote: RemoteModel, version: Path) -> None:
    """The manifest claims the number, and saved_model.pb completes the version."""
    assert remote.versions() == []
    assert remote.upload(version, 7) == "memory://models/net/7"
    assert files()[0].endswith("/net/7/assets.extra/tfsctl_manifest.json")
    assert files()[-1].endswith("/net/7/saved_model.pb")
    assert len(files()) == 4
    assert remote.versions() == [7]
    assert remote.new_version() > 1_700_000_000


def test_existing_remote_versions_are_never_overwritten(remote: RemoteModel, version: Path) -> None:
    """Neither a version that is there, nor one that another export uploads at the same time."""
    remote.upload(version, 7)
    with pytest.raises(VersionTakenError, match="version 7 already exists: memory://models/net/7"):
        remote.upload(version, 7)
    other = RemoteModel("memory://models", "net")
    other.versions = list  # type: ignore[method-assign] # it looked before the first began
    with pytest.raises(VersionTakenError):
        other.upload(version, 7)


def test_failed_upload_removes_what_was_uploaded(
    remote: RemoteModel, version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was uploaded before the failure is removed."""

    def fail(_files: object, source: str, target: str, **_options: object) -> None:
        raise ConnectionResetError(f"lost while writing {Path(source).name} to {target}")

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFileSystem.put_file", fail)
    with pytest.raises(ExportError, match="cannot write memory://models/net: lost while writing"):
        remote.upload(version, 7)
    assert files() == []


def test_incomplete_remote_versions_are_not_compared_with(remote: RemoteModel, version: Path, echo_dir: Path) -> None:
    """A version without saved_model.pb is being uploaded, or its upload was killed."""
    for number in (7, 9):
        shutil.copy(next(echo_dir.rglob("saved_model.pb")), version / "saved_model.pb")
        remote.upload(version, number)
    fsspec.filesystem("memory").rm("/models/net/9/saved_model.pb")
    signatures = read_saved_model(next(echo_dir.rglob("saved_model.pb")).parent).signatures

    found = remote.compare_with_latest(signatures)
    assert found is not None
    assert (found.version, found.changes) == (7, ())
    changed = remote.compare_with_latest({})
    assert changed is not None
    assert changed.breaks
    assert remote.versions() == [7, 9]


def test_only_urls_are_remote_targets() -> None:
    """A URL is remote, a path and a file URL are not; unknown kinds of URL are named."""
    assert is_remote("s3://bucket/models")
    assert not is_remote("/srv/models")
    assert not is_remote("file:///srv/models")
    with pytest.raises(InvalidInput, match="nowhere://models: Protocol not known"):
        RemoteModel("nowhere://models", "net")


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A local S3 server with a bucket `models`; yields the environment that leads to it."""
    s3fs = pytest.importorskip("s3fs")
    pytest.importorskip("moto")

    (port,) = free_ports(1)
    environment = clean_environment(tmp_path / "process") | {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    code = "import sys; from moto.server import main; main(sys.argv[1:])"
    with subprocess.Popen(
        [sys.executable, "-c", code, "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
    ) as server:
        store = s3fs.S3FileSystem(
            key="key",
            secret="secret",
            endpoint_url=f"http://127.0.0.1:{port}",
        )

        def has_bucket() -> bool:
            try:
                store.mkdir("models")
            except Exception:  # noqa: BLE001 - it does not listen yet
                return False
            return True

        wait_for(has_bucket)
        yield environment
        server.kill()


def export_net(environment: dict[str, str], *options: str) -> tuple[int, str, str]:
    """Export net.py of the working directory; exit code, stdout and stderr."""
    argv = [sys.executable, "-m", "tfsctl", "export", "net.py", "--to", "s3://models/some", *options]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=240, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.tensorflow
def test_export_to_s3_is_complete_and_never_overwritten(
    s3: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version in a local S3 server is complete, gated, and never overwritten."""
    s3fs = pytest.importorskip("s3fs")
    monkeypatch.chdir(tmp_path)
    net = "import keras\nmodel = keras.Sequential([keras.Input(({},)), keras.layers.Dense(1)])\n"
    Path("net.py").write_text(net.format(2))
    code, stdout, stderr = export_net(s3, "--json", "--version", "5", "--warmup", "auto")
    assert code == 0, stderr
    document: dict[str, Any] = json.loads(stdout)
    assert (document["path"], document["next"]) == ("s3://models/some/net/5", None)
    store = s3fs.S3FileSystem(key="key", secret="secret", endpoint_url=s3["AWS_ENDPOINT_URL"])
    store.get("models/some/net/5", str(tmp_path / "copy"), recursive=True)
    assert not compare_files(tmp_path / "copy")
    assert read_saved_model(tmp_path / "copy").signatures.keys() == {"serving_default"}

    code, _, stderr = export_net(s3, "--version", "5")
    assert (code, stderr.splitlines()[0]) == (1, "error: version 5 already exists: s3://models/some/net/5")
    code, _, stderr = export_net(s3, "--to", "s3://nowhere/some")
    assert (code, stderr.splitlines()[0]) == (1, "error: there is no bucket nowhere")
    Path("net.py").write_text(net.format(3))
    code, _, stderr = export_net(s3)
    assert code == 1
    assert "error: clients of net version 5 would break" in stderr
    assert [path.rpartition("/")[2] for path in store.ls("models/some/net", refresh=True)] == ["5"]


@pytest.fixture
def gcs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """A local Cloud Storage server with a bucket `models`; yields the environment that leads to it."""
    pytest.importorskip("gcsfs")
    pytest.importorskip("gcp_storage_emulator")

    (port,) = free_ports(1)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    environment = clean_environment(tmp_path / "process")
    code = "import sys; from gcp_storage_emulator.__main__ import main; main(sys.argv[1:])"
    options = ["start", "--host=127.0.0.1", f"--port={port}", "--in-memory", "--default-bucket=models"]
    log = tmp_path / "gcs.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-c", code, *options], stdout=output, stderr=subprocess.STDOUT, env=environment
        ) as server,
    ):
        wait_until_listening(server, [port], log)
        yield environment
        server.kill()


@pytest.mark.tensorflow
def test_export_to_cloud_storage_is_complete_and_never_overwritten(
    gcs: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version in a local Cloud Storage server is complete, and never overwritten."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text("import keras\nmodel = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])\n")
    code, stdout, stderr = export_net(gcs, "--json", "--version", "5", "--to", "gs://models/some")
    assert code == 0, stderr
    assert json.loads(stdout)["path"] == "gs://models/some/net/5"
    assert RemoteModel("gs://models/some", "net").versions() == [5]

    code, _, stderr = export_net(gcs, "--version", "5", "--to", "gs://models/some")
    assert code == 1
    assert "error: version 5 already exists: gs://models/some/net/5" in stderr
    code, _, stderr = export_net(gcs, "--to", "gs://nowhere/some")
    assert code == 1
    assert "error: there is no bucket nowhere" in stderr
