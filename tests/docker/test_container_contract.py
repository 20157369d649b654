"""The contract of a model server (test_contract.py) for a container."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from build_standin import build
from model_servers import Served, clean_environment
from real_docker import FREE
from test_contract import *  # noqa: F403 - its cases and its clients; `served` is what differs

SAMPLES = ("amazon_review", "half_plus_two", "house_price")
pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


@pytest.fixture(scope="session")
def served(sample_models_dir: Path, echo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A container with the sample models and `echo`, for the whole run."""
    models = {name: sample_models_dir / name for name in SAMPLES} | {"echo": echo_dir}
    environment = clean_environment(tmp_path_factory.mktemp("container")) | {"TFSCTL_IMAGE": build()}
    paths = [str(path) for path in models.values()]
    tfsctl = [sys.executable, "-m", "tfsctl"]
    started = subprocess.run(
        [*tfsctl, "serve", *paths, "--name", "contract", "--engine", "docker", "--detach", "--json", *FREE],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        check=True,
    )
    server = json.loads(started.stdout)
    yield Served(server["host"], server["rest_port"], server["grpc_port"], models)
    subprocess.run([*tfsctl, "stop", "contract"], env=environment, check=True)
