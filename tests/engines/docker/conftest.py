"""What the tests of the Docker engine share that need no Docker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from echo_models import write_echo_model
from fake_docker import FakeDocker


@pytest.fixture
def fake_docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDocker]:
    """A `docker` that does what a test says, and nothing else."""
    fake = FakeDocker(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    yield fake
    fake.check()


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    """The base directory of a model with one version."""
    write_echo_model(tmp_path / "echo/1")
    return tmp_path / "echo"
