"""Versions that end the process that runs them, in a server with other versions (--check_new_versions)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from model_servers import Served, clean_environment, running_flags, running_server
from orjson import loads
from rest_requests import predict_one, rest
from scale_models import write_scale_model
from waiting import eventually

pytestmark = pytest.mark.server


def states(server: Served, model: str) -> dict[str, tuple[str, str]]:
    """State and error of each version of a model."""
    status: dict[str, Any] = loads(rest(server, "GET", f"/v1/models/{model}")[1])
    versions = status["model_version_status"]
    return {version["version"]: (version["state"], version["status"]["error_message"]) for version in versions}


AUTO = "--check_new_versions=auto"  # the default, which servers of tests do without


def put_version(base: Path, number: int, factor_: float, *, aborts: bool = False) -> None:
    """Add a version to a served model, with one rename."""
    write_scale_model(base.parent / f"new-{number}", factor_, aborts=aborts)
    (base.parent / f"new-{number}").rename(base / str(number))


def test_a_version_that_arrives_and_aborts_is_refused(tmp_path: Path) -> None:
    """Its status has the reason, the version before it stays served, and a good version after it is served."""
    write_scale_model(tmp_path / "hot" / "1", 2.0)
    with running_server({"hot": tmp_path / "hot"}, tmp_path, flags=["--max_num_load_retries=0", AUTO]) as server:
        put_version(tmp_path / "hot", 2, 3.0, aborts=True)
        eventually(lambda: states(server, "hot").get("2", ("", ""))[0], "END")
        assert "ended with SIGABRT" in states(server, "hot")["2"][1]
        eventually(lambda: "as it should" in (tmp_path / "server.log").read_text(), expected=True)
        assert predict_one(server) == 2.0

        put_version(tmp_path / "hot", 3, 4.0)
        eventually(lambda: predict_one(server), 4.0)


def test_a_server_that_starts_with_an_unsafe_version_serves_its_other_models(tmp_path: Path) -> None:
    """It does not wait for the retries of the unsafe version."""
    write_scale_model(tmp_path / "good" / "1", 2.0)
    write_scale_model(tmp_path / "bad" / "1", 3.0, aborts=True)
    with running_server({"bad": tmp_path / "bad", "good": tmp_path / "good"}, tmp_path, flags=[AUTO]) as server:
        assert predict_one(server, "good") == 2.0
        assert states(server, "bad")["1"][0] == "END"


def test_a_pipe_in_a_version_delays_no_other_model(tmp_path: Path) -> None:
    """It is never opened, and its version says why it is not served."""
    write_scale_model(tmp_path / "good" / "1", 2.0)
    write_scale_model(tmp_path / "bad" / "1", 3.0)
    (tmp_path / "bad" / "1" / "assets.extra").mkdir()
    os.mkfifo(tmp_path / "bad" / "1" / "assets.extra" / "tf_serving_warmup_requests")
    with running_server({"bad": tmp_path / "bad", "good": tmp_path / "good"}, tmp_path, flags=[AUTO]) as server:
        assert predict_one(server, "good") == 2.0
        state, error = states(server, "bad")["1"]
        assert state == "END"
        assert error.endswith("tf_serving_warmup_requests is not a regular file")


@pytest.mark.parametrize("choice", ["always", "auto"])
def test_a_server_that_can_serve_nothing_does_not_start(choice: str, tmp_path: Path) -> None:
    """The reason is the last line of its output, whatever the number of retries.

    By default, the server loads its only version unchecked, and starts again with a check if that ends the process.
    """
    write_scale_model(tmp_path / "bad" / "1", 3.0, aborts=choice == "always", aborts_on_load=choice == "auto")
    flags = ["--port=0", f"--grpc_socket_path={tmp_path / 's'}", "--model_name=bad"]
    flags += [f"--model_base_path={tmp_path / 'bad'}", f"--check_new_versions={choice}"]

    ended = subprocess.run(
        [sys.executable, "-m", "tfsctl.server", *flags],
        env=clean_environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert ended.returncode == 255
    assert "1 servable(s) did not become available" in ended.stdout
    assert "ended with SIGABRT" in ended.stdout
    assert ("starts again with --check_new_versions=always" in ended.stderr) is (choice == "auto")


@pytest.mark.parametrize(("choice", "checks"), [("never", False), ("always", True), ("auto", False)])
def test_the_only_version_is_checked_only_with_always(choice: str, checks: bool, tmp_path: Path) -> None:
    """By default it is loaded at once when the server starts, because nothing else is served yet."""
    write_scale_model(tmp_path / "hot" / "1", 2.0)
    flags = ["--model_name=hot", f"--model_base_path={tmp_path / 'hot'}", f"--check_new_versions={choice}"]
    with running_flags(flags, tmp_path) as server:
        assert predict_one(server) == 2.0

    assert ("in another process" in (tmp_path / "server.log").read_text()) is checks


def test_a_server_that_ends_during_a_check_leaves_no_process(tmp_path: Path) -> None:
    """Neither the server nor the checking process continues."""
    write_scale_model(tmp_path / "hot" / "1", 2.0)
    flags = [AUTO, "--drain_timeout_seconds=600"]
    with running_server({"hot": tmp_path / "hot"}, tmp_path, flags=flags) as server:
        put_version(tmp_path / "hot", 2, 3.0)
        eventually(lambda: bool(psutil.Process(server.pid).children()), expected=True)
        (check,) = psutil.Process(server.pid).children()

    eventually(check.is_running, expected=False)
