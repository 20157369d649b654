"""`tfsctl metadata --diff`: compare versions, directories and running models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli_runner import RunCli
from echo_models import ECHO, write_echo_model


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    """A model whose version 2 takes more than version 1, and whose version 3 takes something else."""
    base = tmp_path / "model"
    write_echo_model(base / "1", {"serving_default": {"x": ("float32", (None,))}})
    write_echo_model(base / "2", {"serving_default": {"x": ("float32", (None,))}, "more": {"x": ("int64", (None,))}})
    write_echo_model(base / "3", {"serving_default": {"x": ("int64", (None,))}})
    return base


def test_compatible_changes(run_cli: RunCli, versions: Path) -> None:
    """A new signature breaks no client: exit code 0."""
    result = run_cli("metadata", versions, "--diff", 1, 2)
    assert (result.stdout, result.code) == ("fine\tmore\tthe signature was added\n", 0)
    assert result.stderr == "clients of the old version can use the new one\n"


def test_breaking_changes(run_cli: RunCli, versions: Path) -> None:
    """Another dtype breaks clients: exit code 1, and every change is listed."""
    result = run_cli("metadata", "--diff", versions / "2", versions / "3")
    assert result.code == 1
    assert result.stdout == (
        "breaks\tmore\tthe signature was removed\n"
        "breaks\tserving_default\tinput x was float32, and is int64\n"
        "breaks\tserving_default\toutput x was float32, and is int64\n"
    )
    assert result.stderr == "clients of the old version would break: 3 of 3 changes\n"
    document = json.loads(run_cli("metadata", "--diff", versions / "2", versions / "3", "--json").stdout)
    assert document["breaks"] is True
    assert document["changes"][0] == {"signature": "more", "what": "the signature was removed", "breaks": True}


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize("name", ["echo", "echo@7"])
def test_compare_served_model_with_directory(run_cli: RunCli, tmp_path: Path, name: str) -> None:
    """The served version is compared with a candidate on disk."""
    write_echo_model(tmp_path / "same", ECHO)
    assert run_cli("metadata", "--diff", name, tmp_path / "same").code == 0
    write_echo_model(tmp_path / "less", {"serving_default": ECHO["serving_default"]})
    assert run_cli("metadata", "--diff", name, tmp_path / "less").code == 1
    assert run_cli("metadata", "--diff", tmp_path / "less", name).code == 0


def test_identical_models_are_recognised(run_cli: RunCli, sample_models_dir: Path, tmp_path: Path) -> None:
    """Their fingerprints are equal."""
    (version,) = (sample_models_dir / "half_plus_two").glob("[0-9]*")
    copy = shutil.copytree(version, tmp_path / "copy")
    assert run_cli("metadata", "--diff", version, copy).stderr == "the same model\n"


@pytest.mark.parametrize(
    ("typed", "code", "words"),
    [
        (["{base}", "--diff", "1", "9"], 4, "error: no version 9 of a model in {base} (existing versions: 1, 2, 3)\n"),
        (["{base}", "--diff", "1", "two"], 2, "error: {base} has no version two\n"),
        (["--diff", "{base}/1", "./gone"], 4, "error: no such directory: ./gone\n"),
        (["--diff", "{base}/1", "gone"], 3, "error: no answer from localhost:9: Connection refused\n"),
    ],
)
def test_incomparable_models_are_named(
    run_cli: RunCli, versions: Path, monkeypatch: pytest.MonkeyPatch, typed: list[str], code: int, words: str
) -> None:
    """A missing version, a missing directory, a model that is not served."""
    monkeypatch.setenv("TFSCTL_PORT", "9")
    result = run_cli("metadata", *(word.format(base=versions) for word in typed))
    assert (result.stdout, result.code) == ("", code)
    assert result.stderr.startswith(words.format(base=versions))


def test_compare_one_signature(run_cli: RunCli, versions: Path) -> None:
    """--signature ignores changes of the other signatures."""
    result = run_cli("metadata", "--diff", versions / "2", versions / "3", "--signature", "more")
    assert (result.stdout, result.code) == ("breaks\tmore\tthe signature was removed\n", 1)
    result = run_cli("metadata", "--diff", versions / "1", versions / "2", "--signature", "serving_default")
    assert (result.stdout, result.code) == ("", 0)
    assert run_cli("metadata", "--diff", versions / "1", versions / "2", "--signature", "more").code == 4
