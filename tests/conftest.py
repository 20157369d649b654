"""What tests share: a clean environment, the CLI called in-process, models exported once, one running server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import hypothesis
import pytest
from cli_runner import MemoryStream, Result, RunCli
from echo_models import write_echo_model
from exporting import Export, exporter_process
from locations import ROOT
from model_servers import Served, clean_environment, clean_places, running_server

from tfsctl.engines.registry import records
from tfsctl.engines.server_record import ServerRecord
from tfsctl.programs import subprocesses

# Typer decides on colour and width when it is imported.
for _name in ("GITHUB_ACTIONS", "FORCE_COLOR", "PY_COLORS", "NO_COLOR"):
    os.environ.pop(_name, None)
os.environ["COLUMNS"] = "100"

hypothesis.settings.register_profile("tfsctl", deadline=None)  # how long an example takes says more of the machine
hypothesis.settings.load_profile("tfsctl")

EXPORT_S = 150.0
SAMPLES = ("amazon_review", "half_plus_two", "house_price")


def pytest_configure() -> None:
    """Start programs as a terminal would, also in a run begun with nohup or `&`: what we ignore, they would ignore."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, lambda *_: None)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees the user's settings, running servers or home, and none writes there."""
    for name in [name for name in os.environ if name.startswith("TFSCTL_")]:
        monkeypatch.delenv(name)
    for name, value in clean_places(tmp_path / "isolated").items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session", autouse=True)
def _left_running() -> Iterator[None]:
    """Collect the exit status of servers that in-process commands left running. Otherwise Python warns."""
    yield
    for server in subprocesses._detached:
        server.poll()


@pytest.fixture
def run_cli(monkeypatch: pytest.MonkeyPatch) -> RunCli:
    """Call `tfsctl.cli.main` in-process. Without `stdin` a terminal is there, on which nothing is typed."""
    from tfsctl.cli import main

    def run(*args: object, stdin: str | bytes | None = None) -> Result:
        typed = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", MemoryStream(typed or b"", terminal=stdin is None))
        stdout, stderr = MemoryStream(), MemoryStream()
        with redirect_stdout(stdout), redirect_stderr(stderr):
            code = main([str(arg) for arg in args])
        return Result(stdout.written(), stderr.written(), code)

    return run


@pytest.fixture(scope="session")
def sample_models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the base directory of every sample model, each exported once for the whole run."""
    base = tmp_path_factory.mktemp("sample_models")
    environment = clean_environment(tmp_path_factory.mktemp("export"))
    exports = [
        subprocess.Popen(
            [sys.executable, "-m", "tfsctl", "export", str(ROOT / "sample_models" / f"{name}.py"), "--to", str(base)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in SAMPLES
    ]
    said = [export.communicate(timeout=EXPORT_S)[0] for export in exports]
    assert [export.returncode for export in exports] == [0] * len(SAMPLES), "\n".join(said)
    return base


@pytest.fixture(scope="session")
def _exporter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    with exporter_process(clean_environment(tmp_path_factory.mktemp("exporter"))) as process:
        yield process


@pytest.fixture
def export(_exporter: subprocess.Popen[str], tmp_path: Path) -> Export:
    """Export what the test writes, in a process that has TensorFlow loaded already."""
    (tmp_path / "export").mkdir()
    return Export(_exporter, tmp_path / "export")


@pytest.fixture(scope="session")
def echo_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base directory of a model, version 7, whose signatures give back what they are asked."""
    base = tmp_path_factory.mktemp("models") / "echo"
    write_echo_model(base / "7")
    return base


@pytest.fixture(scope="session")
def served(sample_models_dir: Path, echo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The embedded server with the sample models and `echo`, for the whole run."""
    models = {name: sample_models_dir / name for name in SAMPLES} | {"echo": echo_dir}
    with running_server(models, tmp_path_factory.mktemp("served")) as server:
        yield server


@pytest.fixture
def registered(served: Served) -> ServerRecord:
    """The running server as one that tfsctl started: commands find it without options."""
    models = tuple(served.models)
    server = ServerRecord(
        "test",
        "embedded",
        served.host,
        served.rest_port,
        served.grpc_port,
        models,
        os.getpid(),
        None,
        time.time(),
        None,
    )
    records.register(server)
    return server
