"""Versions are loaded, replaced and removed without failed requests, and bad versions do not affect others."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gates import closed_gate
from graph_models import write_rows_model
from mixed_load import PAUSE_S
from model_servers import STOP_S, Served, clean_environment, failed_start, running_server
from ports import HOST, free_ports, listening
from scale_models import write_scale_model
from waiting import eventually, wait_for

from tfsctl.clients.grpc import GrpcClient
from tfsctl.core.types import ModelRef

pytestmark = pytest.mark.server


def ask(server: Served, path: str, body: object = None) -> tuple[int, Any]:
    """One REST request: the status, and the JSON of the answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://{server.host}:{server.rest_port}/v1/models/{path}", data=data)
    try:
        with urllib.request.urlopen(request, timeout=STOP_S) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def states(server: Served, model: str) -> dict[str, str]:
    """The state of every version that the server knows."""
    _, document = ask(server, model)
    return {v["version"]: v["state"] for v in document["model_version_status"]}


def is_available(server: Served, model: str, version: str) -> bool:
    """Whether a version answers requests."""
    return states(server, model).get(version) == "AVAILABLE"


def answer(server: Served, model: str) -> float:
    """The answer of the latest version to 1.0, which is the factor of that version."""
    status, document = ask(server, f"{model}:predict", {"instances": [1.0]})
    assert status == 200, document
    factor: float = document["predictions"][0]
    return factor


def publish(base: Path, version: str, factor: float) -> None:
    """Write a version next to its base path, then move it there with one rename."""
    draft = base.parent / f"{base.name}-{version}-draft"
    write_scale_model(draft, factor)
    draft.rename(base / version)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A model whose version 1 answers 1 * x."""
    write_scale_model(tmp_path / "hot" / "1", 1.0)
    return tmp_path / "hot"


@pytest.fixture
def server(base: Path, tmp_path: Path) -> Iterator[Served]:
    """A server of that model alone."""
    with running_server({"hot": base}, tmp_path) as running:
        yield running


def test_a_new_version_replaces_the_old_and_its_removal_brings_it_back(server: Served, base: Path) -> None:
    """The highest version on disk is served; the states are those of the real server."""
    assert answer(server, "hot") == 1.0

    publish(base, "2", 2.0)
    eventually(lambda: states(server, "hot"), {"2": "AVAILABLE", "1": "END"})
    assert answer(server, "hot") == 2.0

    shutil.rmtree(base / "2")
    eventually(lambda: states(server, "hot"), {"2": "END", "1": "AVAILABLE"})
    assert answer(server, "hot") == 1.0

    shutil.rmtree(base / "1")
    eventually(lambda: states(server, "hot"), {"2": "END", "1": "END"})
    status, document = ask(server, "hot:predict", {"instances": [1.0]})
    assert (status, document) == (404, {"error": "Servable not found for request: Latest(hot)"})


def test_no_request_fails_while_versions_change(server: Served, base: Path) -> None:
    """Under steady load over both protocols, while five versions are loaded and removed."""
    failures: list[object] = []
    answers: set[float] = set()
    stop = threading.Event()

    def load_rest() -> None:
        while not stop.wait(PAUSE_S):
            status, document = ask(server, "hot:predict", {"instances": [1.0]})
            answers.add(document["predictions"][0]) if status == 200 else failures.append(document)

    def load_grpc() -> None:
        with GrpcClient(server.host, server.grpc_port) as client:
            while not stop.wait(PAUSE_S):
                try:
                    client.predict(ModelRef("hot"), {"x": np.ones(1, np.float32)})
                except Exception as error:  # noqa: BLE001 - any failure is what this test is about
                    failures.append(error)

    threads = [threading.Thread(target=load) for load in (load_rest, load_grpc, load_rest)]
    for thread in threads:
        thread.start()
    for version in range(2, 7):
        publish(base, str(version), float(version))
        wait_for(partial(is_available, server, "hot", str(version)))
    eventually(lambda: 6.0 in answers, expected=True)
    stop.set()
    for thread in threads:
        thread.join()

    assert failures == []
    assert answers >= {1.0, 6.0}


@pytest.mark.parametrize("damage", ["empty", "garbage", "cut short", "unreadable"])
def test_a_version_that_cannot_be_loaded_does_not_affect_others(server: Served, base: Path, damage: str) -> None:
    """Version 1 stays served, and version 3 is loaded."""
    bad = base.parent / "bad"
    write_scale_model(bad, 2.0)
    if damage == "empty":
        (bad / "saved_model.pb").unlink()
    elif damage == "garbage":
        (bad / "saved_model.pb").write_bytes(b"this is no SavedModel")
    elif damage == "cut short":
        whole = (bad / "saved_model.pb").read_bytes()
        (bad / "saved_model.pb").write_bytes(whole[: len(whole) // 2])
    else:
        (bad / "saved_model.pb").unlink()
        (bad / "saved_model.pb").mkdir()
    bad.rename(base / "2")
    eventually(lambda: states(server, "hot").get("2"), "LOADING")

    assert answer(server, "hot") == 1.0

    publish(base, "3", 3.0)
    eventually(lambda: answer(server, "hot"), 3.0)


def test_the_old_version_drains_first(base: Path, tmp_path: Path) -> None:
    """A request that is running when its version is replaced gets its answer from that version."""
    with closed_gate(tmp_path / "gate") as gate:
        write_rows_model(tmp_path / "slow" / "1", gate=gate)
        with (
            running_server({"slow": tmp_path / "slow", "hot": base}, tmp_path) as server,
            waiting_request(server) as got,
        ):
            gate.wait_for_run()
            publish(tmp_path / "slow", "2", 2.0)
            eventually(lambda: answer(server, "slow"), 2.0)
            assert states(server, "slow")["1"] == "UNLOADING"
            assert got == []
            gate.open()
            eventually(lambda: states(server, "slow"), {"2": "AVAILABLE", "1": "END"})

    assert got == [(200, {"predictions": [1.0] * 9})]


def test_a_slow_model_does_not_delay_another(base: Path, tmp_path: Path) -> None:
    """While a run of one model does not end, another model and the status are answered."""
    with closed_gate(tmp_path / "gate") as gate:
        write_rows_model(tmp_path / "slow" / "1", gate=gate)
        with (
            running_server({"slow": tmp_path / "slow", "hot": base}, tmp_path) as server,
            waiting_request(server) as got,
        ):
            gate.wait_for_run()
            assert [answer(server, "hot") for _ in range(50)] == [1.0] * 50
            assert states(server, "slow") == {"1": "AVAILABLE"}
            assert got == []
            gate.open()

    assert got == [(200, {"predictions": [1.0] * 9})]


@contextmanager
def waiting_request(server: Served) -> Iterator[list[tuple[int, Any]]]:
    """A request to `slow` that waits at the gate of the model; its answer is in the list at the end of the block."""
    got: list[tuple[int, Any]] = []
    body = {"signature_name": "gated", "instances": [1.0] * 9}
    thread = threading.Thread(target=lambda: got.append(ask(server, "slow:predict", body)))
    thread.start()
    yield got
    thread.join()


def _start(tmp_path: Path, *flags: str) -> tuple[subprocess.Popen[str], int, int]:
    """Start a server whose log is `server.log`; returns its process, its gRPC port and its REST port."""
    grpc_port, rest_port = free_ports(2)
    argv = [sys.executable, "-m", "tfsctl.server", f"--host={HOST}", f"--port={grpc_port}", *flags]
    with (tmp_path / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [*argv, f"--rest_api_port={rest_port}"],
            env=clean_environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    return process, grpc_port, rest_port


def test_ports_open_when_the_model_is_available(tmp_path: Path) -> None:
    """Until then both ports are closed."""
    process, grpc_port, rest_port = _start(tmp_path, "--model_name=late", f"--model_base_path={tmp_path / 'late'}")
    server = Served(HOST, rest_port, grpc_port, {})
    try:
        log, waits = tmp_path / "server.log", "Could not find base path"
        eventually(lambda: log.read_text().count(waits) >= 3, expected=True)  # it looks for the model again and again
        assert listening(process.pid, [grpc_port, rest_port]) == set()
        with pytest.raises(OSError, match="refused"):
            ask(server, "late")
        (tmp_path / "late").mkdir()
        publish(tmp_path / "late", "1", 4.0)

        def factor() -> float | None:
            try:
                return answer(server, "late")
            except OSError:
                return None

        eventually(factor, 4.0)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=STOP_S)

    logged = log.read_text()
    assert process.returncode == 0
    assert f"Could not find base path {tmp_path / 'late'} for servable late" in logged
    assert logged.index("Successfully loaded servable version") < logged.index("Exporting HTTP/REST API at:")


def test_a_failed_start_prints_the_error_and_exits_255(tmp_path: Path) -> None:
    """If a model cannot be loaded after all retries, as the real server does."""
    (tmp_path / "bad" / "1").mkdir(parents=True)
    (tmp_path / "bad" / "1" / "saved_model.pb").write_bytes(b"")
    ended = failed_start(
        tmp_path, "--model_name=b", f"--model_base_path={tmp_path / 'bad'}", "--max_num_load_retries=0"
    )

    assert ended.returncode == 255
    assert ended.stdout.startswith(
        "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: {{{name: b version: 1} due to "
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "INVALID_ARGUMENT: Both server_options.model_base_path and server_options.model_config_file are empty!"),
        (
            ["--model_name=x", "--model_base_path=models/x"],
            "INVALID_ARGUMENT: Expected model x to have an absolute path or URI; got base_path()=models/x",
        ),
        (
            ["--model_config_file={LOGGED}"],
            "INVALID_ARGUMENT: The logging_config of model m needs an absolute path as "
            "log_collector_config.filename_prefix; got ''",
        ),
        (["--model_config_file=/nope.config"], "NOT_FOUND: /nope.config; No such file or directory"),
    ],
)
def test_invalid_flags_are_refused(tmp_path: Path, flags: list[str], message: str) -> None:
    """With the real server's words on stdout."""
    logged = tmp_path / "logged.config"
    entry = 'name: "m" base_path: "/m" model_platform: "tensorflow" logging_config { }'
    logged.write_text(f"model_config_list {{ config {{ {entry} }} }}")
    ended = failed_start(tmp_path, *(flag.replace("{LOGGED}", str(logged)) for flag in flags))

    assert (ended.returncode, ended.stdout) == (255, f"Failed to start server. Error: {message}\n")


def test_a_port_in_use_is_named(server: Served, base: Path, tmp_path: Path) -> None:
    """In the real server's words on stdout, with the reason in the log."""
    done = failed_start(tmp_path, f"--model_base_path={base}", f"--port={server.grpc_port}")

    assert done.returncode == 255
    assert done.stdout == "Failed to start server. Error: INVALID_ARGUMENT: Failed to BuildAndStart gRPC server\n"
    assert f"cannot listen on {HOST}:{server.grpc_port} (--port): Address already in use" in done.stderr


def test_the_server_ends_with_its_parent(base: Path, tmp_path: Path) -> None:
    """With TFSCTL_PARENT_PID, also after a `kill -9` of the parent."""
    grpc_port, rest_port = free_ports(2)
    argv = [sys.executable, "-m", "tfsctl.server", f"--host={HOST}", f"--port={grpc_port}"]
    argv += [f"--rest_api_port={rest_port}", "--model_name=hot", f"--model_base_path={base}"]
    script = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen(sys.argv[1:], env=os.environ | {'TFSCTL_PARENT_PID': str(os.getpid())})\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(3600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, *argv],
        env=clean_environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        server = Served(HOST, rest_port, grpc_port, {})

        def is_up() -> bool:
            try:
                return answer(server, "hot") == 1.0
            except OSError:
                return False

        eventually(is_up, expected=True)
        parent.kill()

    eventually(lambda: os.path.exists(f"/proc/{child}/exe"), expected=False)


def test_a_model_config_file_sets_versions_and_labels(base: Path, tmp_path: Path) -> None:
    """Several models, a pinned version and a label."""
    for version in ("2", "3"):
        publish(base, version, float(version))
    write_scale_model(tmp_path / "other" / "00000005", 5.0)
    config = tmp_path / "pinned.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "hot" base_path: "{base}" model_platform: "tensorflow" '
        f"model_version_policy {{ specific {{ versions: 1 versions: 2 }} }} "
        f'version_labels {{ key: "stable" value: 1 }} }} '
        f'config {{ name: "other" base_path: "{tmp_path / "other"}" model_platform: "tensorflow" }} }}'
    )
    process, grpc_port, rest_port = _start(
        tmp_path, f"--model_config_file={config}", "--allow_version_labels_for_unavailable_models"
    )
    server = Served(HOST, rest_port, grpc_port, {})

    def is_up() -> bool:
        try:
            return ask(server, "hot")[0] == 200
        except OSError:
            return False

    try:
        eventually(is_up, expected=True)
        assert states(server, "hot") == {"2": "AVAILABLE", "1": "AVAILABLE"}
        assert states(server, "other") == {"5": "AVAILABLE"}
        assert answer(server, "hot") == 2.0
        assert answer(server, "hot/versions/1") == 1.0
        assert answer(server, "hot/labels/stable") == 1.0
    finally:
        process.terminate()
        process.communicate(timeout=STOP_S)
