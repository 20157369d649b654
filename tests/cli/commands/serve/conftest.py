"""Fixtures of the tests that start servers: a model, and a stand-in binary."""

from __future__ import annotations

import os
from pathlib import Path

import fake_model_server
import pytest
from echo_models import write_echo_model


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    """The base directory of a model with one version."""
    write_echo_model(tmp_path / "echo/1")
    return tmp_path / "echo"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake `tensorflow_model_server` on PATH, which FAKE_ variables configure."""
    folder = fake_model_server.install(tmp_path / "bin").parent
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
