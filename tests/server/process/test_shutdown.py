"""SIGTERM and SIGINT: what runs is answered, what comes is refused, and the end comes in time."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from calls import Calls, answer, predict
from graph_models import write_rows_model
from model_servers import HOST, clean_environment, free_ports

BODY = b'{"signature_name": "slow", "instances": [1.0]}'


class Process:
    """A server process, its ports and what it says."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.log = folder / "server.log"
        self.grpc_port, self.rest_port = free_ports(2)
        argv = [sys.executable, "-m", "tfsctl.server", f"--host={HOST}", f"--port={self.grpc_port}"]
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(
                [*argv, f"--rest_api_port={self.rest_port}", *flags],
                env=clean_environment(folder),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_for(self, said: str) -> None:
        """Wait until the log has these words."""
        deadline = time.monotonic() + 60
        while said not in self.log.read_text():
            assert self.popen.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)

    def end(self, number: int = signal.SIGTERM, timeout_s: float = 30) -> tuple[int, float]:
        """Send a signal; the exit code, and how many seconds it took."""
        start = time.monotonic()
        self.popen.send_signal(number)
        return self.popen.wait(timeout=timeout_s), time.monotonic() - start


@contextmanager
def started(folder: Path, *flags: str) -> Iterator[Process]:
    """A server process, which is gone when the block is left."""
    process = Process(folder, *flags)
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            process.popen.kill()
            process.popen.wait()


@contextmanager
def serving(folder: Path, matrix: int, *flags: str) -> Iterator[tuple[Process, Calls]]:
    """A server of a model that can be slow, and calls to it."""
    write_rows_model(folder / "m" / "1", slow=matrix)
    base = [f"--model_base_path={folder / 'm'}", "--model_name=m"]
    with started(folder, *base, *flags) as process:
        process.wait_for("Exporting HTTP/REST API")
        with grpc.insecure_channel(f"{HOST}:{process.grpc_port}") as channel:
            grpc.channel_ready_future(channel).result(timeout=60)
            yield process, Calls(channel)


def ask_rest(port: int, answers: list[int]) -> None:
    """One slow request over REST; its status is added to the answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    connection.request("POST", "/v1/models/m:predict", BODY)
    answers.append(connection.getresponse().status)
    connection.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_running_requests_are_answered(tmp_path: Path, number: int) -> None:
    """Those of either protocol that came before the signal; then the process ends cleanly."""
    with serving(tmp_path, 4500) as (process, ask):
        over_rest: list[int] = []
        asking = threading.Thread(target=ask_rest, args=(process.rest_port, over_rest))
        asking.start()
        over_grpc = ask.start(predict("m", "slow", x=[1]), 60)
        time.sleep(0.2)
        assert not over_grpc.done()

        assert process.end(number)[0] == 0
        asking.join()

    assert over_rest == [200]
    assert answer(over_grpc)["y"] == [1]


def test_what_comes_after_the_signal_is_refused(tmp_path: Path) -> None:
    """Its client is told at once, so that it can ask another server."""
    with serving(tmp_path, 6000) as (process, ask):
        running = ask.start(predict("m", "slow", x=[1]), 60)
        time.sleep(0.2)
        process.popen.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        with grpc.insecure_channel(f"{HOST}:{process.grpc_port}") as channel:
            late = Calls(channel)(predict("m", x=[1]))
        assert not running.done()
        assert process.popen.wait(timeout=60) == 0

    assert late.code == "UNAVAILABLE"
    assert answer(running)["y"] == [1]


def test_the_end_does_not_wait_for_ever(tmp_path: Path) -> None:
    """A request that takes longer than --drain_timeout_seconds is given up, and the log says so."""
    with serving(tmp_path, 16000, "--drain_timeout_seconds=1") as (process, ask):
        running = ask.start(predict("m", "slow", x=[1]), 120)
        time.sleep(0.3)
        code, took_s = process.end()

        assert answer(running).code in ("UNAVAILABLE", "UNKNOWN")  # the connection broke

    assert (code, took_s < 8) == (0, True)
    assert "Ended without waiting any longer: something still ran 1 s after the signal" in process.log.read_text()


def test_an_idle_server_ends_at_once(tmp_path: Path) -> None:
    """Open connections keep nobody waiting."""
    with serving(tmp_path, 0) as (process, ask):
        assert ask(predict("m", x=[1]))["y"] == [1]
        code, took_s = process.end()

    assert (code, took_s < 8) == (0, True)
    assert "Done unloading servable version {name: m version: 1}" in process.log.read_text()


def test_a_server_that_still_waits_for_its_model_ends_too(tmp_path: Path) -> None:
    """It serves nothing yet, so there is nothing to wait for."""
    with started(tmp_path, f"--model_base_path={tmp_path / 'nowhere'}") as process:
        process.wait_for("Could not find base path")
        code, took_s = process.end()

    assert (code, took_s < 8) == (0, True)


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """Whatever is running, and however long it may."""
    with serving(tmp_path, 9000, "--drain_timeout_seconds=60") as (process, ask):
        running = ask.start(predict("m", "slow", x=[1]), 120)
        time.sleep(0.3)
        process.popen.send_signal(signal.SIGTERM)
        process.wait_for("Waiting for 1 running requests, 60 s at most")
        process.popen.send_signal(signal.SIGTERM)

        assert answer(running).code != "OK"


def test_under_load_no_request_breaks(tmp_path: Path) -> None:
    """Of a steady stream each request is answered or refused: none that the server took is cut off."""
    codes: list[tuple[str, str]] = []
    with serving(tmp_path, 0) as (process, ask):
        stop = threading.Event()

        def load() -> None:
            while not stop.is_set():
                got = ask(predict("m", x=[1]))
                codes.append((got.code, got.details))

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        code, _ = process.end()
        stop.set()
        for thread in threads:
            thread.join()

    assert code == 0
    assert codes.count(("OK", "")) > 20
    assert {code for code, _ in codes} <= {"OK", "UNAVAILABLE"}
