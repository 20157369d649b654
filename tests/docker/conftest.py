"""Fixtures of the tests with a real Docker Engine: the image that stands in for TensorFlow Serving's, and a model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from build_standin import build
from echo_models import write_echo_model
from real_docker import remove_containers


@pytest.fixture(scope="session")
def standin() -> str:
    """The tag of the stand-in image, built if what goes into it has changed."""
    return build()


@pytest.fixture
def _serves_standin(standin: str, monkeypatch: pytest.MonkeyPatch, _isolated: None) -> Iterator[None]:
    """Every serve takes the stand-in, and no container is left by a test that failed."""
    monkeypatch.setenv("TFSCTL_IMAGE", standin)
    monkeypatch.setenv("TFSCTL_ENGINE", "docker")
    yield
    remove_containers()


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    """The base directory of a model with one version."""
    write_echo_model(tmp_path / "echo/1")
    return tmp_path / "echo"
