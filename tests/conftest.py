"""What tests share: a clean environment, the CLI called in-process, models exported once, one running server."""

from __future__ import annotations

import compileall
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import hypothesis
import pytest
import unit_guard
from cli_runner import MemoryStream, Result, RunCli
from early_deselection import markers_of_file, markers_of_object, never_selected
from echo_models import write_echo_model
from exporting import Export, Exporter, running_exporter, tensorflow_fork_server
from fork_servers import ForkServer
from forked_sessions import forked_program
from locations import ROOT
from model_servers import Served, clean_environment, forking_servers
from reused_places import CleanPlaces
from shared import end_server, made_once, run_folder, shared_server

from tfsctl.engines.registry import records
from tfsctl.engines.server_record import ServerRecord
from tfsctl.exporter import session_process
from tfsctl.programs import subprocesses
from tfsctl.server.process import resources

# Typer decides on colour and width when it is imported.
for _name in ("GITHUB_ACTIONS", "FORCE_COLOR", "PY_COLORS", "NO_COLOR"):
    os.environ.pop(_name, None)
os.environ["COLUMNS"] = "100"
sys.dont_write_bytecode = False  # pytest keeps the test modules that it has rewritten

hypothesis.settings.register_profile("tfsctl", deadline=None)  # how long an example takes says more of the machine
hypothesis.settings.load_profile("tfsctl")

SAMPLES = ("amazon_review", "half_plus_two", "house_price")
MARKER_OF_FIXTURE = {
    "served": "server",
    "server": "server",
    "sample_models_dir": "tensorflow",
    "export": "tensorflow",
    "with_tensorflow": "tensorflow",
}
NOT_UNIT = ("server", "tensorflow", "docs", "docker", "node", "browser")
GZIP_MAGIC = b"\x1f\x8b"
SERVER_FORKS = "server_forks"  # the folder of the fork server of model servers, in that of the run
MEMORY_PER_WORKER = 1.5e9  # a few servers and a process that exports


def pytest_configure() -> None:
    """Start programs as a terminal would, also in a run begun with nohup or `&`: what we ignore, they would ignore."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, lambda *_: None)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)
    unit_guard.install()
    if "PYTEST_XDIST_WORKER" not in os.environ:
        # A thousand processes import these modules. With PYTHONDONTWRITEBYTECODE each would compile them.
        compileall.compile_dir(ROOT / "tfsctl", quiet=2)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect without garbage collections, and leave what was collected out of later ones: thousands of tests stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import a file if `-m` deselects all of its tests."""
    if not collection_path.name.startswith("test_") or collection_path.suffix != ".py":
        return None
    return never_selected(config.option.markexpr, markers_of_file(collection_path)) or None


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> list[pytest.Item] | None:
    """Make no tests of a function or class if `-m` deselects all of them."""
    if not name.startswith(("test", "Test")):
        return None
    markers = markers_of_object(obj, MARKER_OF_FIXTURE)
    return [] if never_selected(collector.config.option.markexpr, markers) else None


def pytest_xdist_auto_num_workers() -> int:
    """How many workers `-n auto` means: three for two CPUs, since tests often wait; fewer if there is little memory."""
    return max(1, min(resources.cpu_count() * 3 // 2, int(resources.available_memory_bytes() / MEMORY_PER_WORKER)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by the shared fixtures they use. Tests that start something themselves carry the marker themselves.

    Long tests run first: one of them as the last test would run alone, with the other workers idle.
    """
    for item in items:
        for fixture, marker in MARKER_OF_FIXTURE.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)
        early = markers_of_file(item.path) | markers_of_object(getattr(item, "obj", None), MARKER_OF_FIXTURE)
        missing = early.difference(mark.name for mark in item.iter_markers())
        assert not missing, f"{item.nodeid} would be left out as {missing}, which it is not"
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name long and compressed bytes by their length: gzip adds the time, and workers must agree on the names of tests."""
    if isinstance(val, bytes) and (len(val) > 40 or GZIP_MAGIC in val):
        return f"{argname} of {len(val)} bytes"
    return None


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the server that the workers share, once they are done. A server that ends badly fails the run."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        return
    problem = end_server(run_folder(session.config._tmp_path_factory) / "served")  # type: ignore[attr-defined]
    if problem:
        sys.stderr.write(f"\nthe shared server ended badly:\n{problem}\n")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Unit tests, which `make test-fast` runs, load no TensorFlow and start no server: see unit_guard.py."""
    notes = item.config._tmp_path_factory.getbasetemp() / "unit-guard"  # type: ignore[attr-defined]
    with unit_guard.forbidding(not any(item.get_closest_marker(name) for name in NOT_UNIT), notes):
        return (yield)


@pytest.fixture(autouse=True)
def _unit_guard() -> Iterator[None]:
    """Fail a unit test that loaded TensorFlow or started a server, even if the code under test hid the error."""
    yield
    unit_guard.check()


@pytest.fixture(scope="session")
def _places(tmp_path_factory: pytest.TempPathFactory) -> CleanPlaces:
    return CleanPlaces(tmp_path_factory.mktemp("isolated"))


@pytest.fixture(autouse=True)
def _isolated(monkeypatch: pytest.MonkeyPatch, _places: CleanPlaces) -> Iterator[None]:
    """No test sees the user's settings, running servers or home, and none writes there."""
    for name in [name for name in os.environ if name.startswith("TFSCTL_")]:
        monkeypatch.delenv(name)
    with _places.one() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield


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
    from tfsctl.cli.output import terminal

    monkeypatch.setattr(terminal, "verbose", False)  # what --verbose sets ends with the test

    def run(*args: object, stdin: str | bytes | None = None) -> Result:
        typed = stdin.encode() if isinstance(stdin, str) else stdin
        monkeypatch.setattr(sys, "stdin", MemoryStream(typed or b"", terminal=stdin is None))
        stdout, stderr = MemoryStream(), MemoryStream()
        with redirect_stdout(stdout), redirect_stderr(stderr):
            code = main([str(arg) for arg in args])
        return Result(stdout.written(), stderr.written(), code)

    return run


@pytest.fixture(scope="session")
def sample_models_dir(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A directory with the base directory of every sample model, exported once for the whole run."""

    def make(folder: Path) -> None:
        export = Export(request.getfixturevalue("_exporter"), folder)
        for name in SAMPLES:
            exported = export.source(ROOT / "sample_models" / f"{name}.py", "--to", folder)
            assert exported.code == 0, exported.stderr

    return made_once(run_folder(tmp_path_factory) / "sample_models", make)


@pytest.fixture(scope="session", autouse=True)
def _server_forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], ForkServer]]:
    with forking_servers(run_folder(tmp_path_factory) / SERVER_FORKS) as fork_server:
        yield fork_server


@pytest.fixture(scope="session")
def _sessions(_server_forks: Callable[[], ForkServer]) -> ForkServer:
    """Forks processes that have the embedded server's modules loaded, without TensorFlow's Python."""
    return _server_forks()


@pytest.fixture(scope="session")
def with_tensorflow(_sessions: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """Forks processes that have TensorFlow loaded already."""
    folder = run_folder(tmp_path_factory)
    with tensorflow_fork_server(folder / "with_tensorflow", folder / SERVER_FORKS) as server:
        yield server


@pytest.fixture(scope="session")
def _exporter(with_tensorflow: ForkServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exporter]:
    with running_exporter(with_tensorflow, clean_environment(tmp_path_factory.mktemp("exporter"))) as exporter:
        yield exporter


@pytest.fixture
def export(_exporter: Exporter, _sessions: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Export:
    """Export what the test writes, in a process that has TensorFlow loaded already.

    The test's own SessionProcess is a fork too.
    """
    monkeypatch.setattr(session_process, "PipedProgram", forked_program(_sessions))
    (tmp_path / "export").mkdir()
    return Export(_exporter, tmp_path / "export")


@pytest.fixture(scope="session")
def echo_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base directory of a model, version 7, whose signatures return their inputs."""
    return made_once(run_folder(tmp_path_factory) / "echo", lambda folder: write_echo_model(folder / "7"))


@pytest.fixture(scope="session")
def served(sample_models_dir: Path, echo_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """The embedded server with the sample models and `echo`, which all workers share."""
    models = {name: sample_models_dir / name for name in SAMPLES} | {"echo": echo_dir}
    return shared_server(run_folder(tmp_path_factory) / "served", models)


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
