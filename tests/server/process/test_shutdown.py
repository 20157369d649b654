"""SIGTERM and SIGINT: running requests are answered, new ones are refused, and the process ends in time."""

from __future__ import annotations

import http.client
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from gates import Gate, closed_gate
from graph_models import write_rows_model
from grpc_requests import Calls, answer, predict
from model_servers import STOP_S, clean_environment, start_server
from ports import HOST, free_ports, wait_until_listening
from waiting import PATIENCE_S, wait_for

BODY = b'{"signature_name": "gated", "instances": [1.0]}'
DRAIN_S = 3600  # longer than any of these tests may take
pytestmark = pytest.mark.server


class Process:
    """A server process, its ports and its log."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.log = folder / "server.log"
        self.grpc_port, self.rest_port = free_ports(2)
        argv = [f"--host={HOST}", f"--port={self.grpc_port}", f"--rest_api_port={self.rest_port}", *flags]
        with self.log.open("wb") as log:
            self.process = start_server(argv, clean_environment(folder), log, log)

    def wait_for(self, text: str) -> None:
        """Wait until the log has this text."""

        def is_logged() -> bool:
            logged = text in self.log.read_text()
            assert logged or self.process.poll() is None, self.log.read_text()
            return logged

        wait_for(is_logged)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(STOP_S)


@contextmanager
def started(folder: Path, *flags: str) -> Iterator[Process]:
    """A server process, which is stopped at the end of the block."""
    process = Process(folder, *flags)
    try:
        yield process
    finally:
        if process.process.poll() is None:
            process.process.kill()
            process.process.wait()


@contextmanager
def serving(folder: Path, *flags: str) -> Iterator[tuple[Process, Calls, Gate]]:
    """A server of the model `m`, calls to it, and the gate where its signature `gated` waits."""
    with closed_gate(folder / "gate") as gate:
        write_rows_model(folder / "m" / "1", gate=gate)
        base = [f"--model_base_path={folder / 'm'}", "--model_name=m"]
        with started(folder, *base, *flags) as process:
            wait_until_listening(process.process, [process.grpc_port, process.rest_port], process.log)
            with grpc.insecure_channel(f"{HOST}:{process.grpc_port}") as channel:
                grpc.channel_ready_future(channel).result(timeout=PATIENCE_S)
                yield process, Calls(channel), gate


def ask_rest(port: int, answers: list[int]) -> None:
    """Send one gated request over REST; its status is added to the answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=PATIENCE_S)
    connection.request("POST", "/v1/models/m:predict", BODY)
    answers.append(connection.getresponse().status)
    connection.close()


def gated() -> tuple[str, Any]:
    """A call that waits at the gate."""
    return predict("m", "gated", x=[1])


def test_no_thread_starts_before_the_signals_are_blocked() -> None:
    """NumPy starts threads when it is imported. One that does not block SIGTERM would end the process at once."""
    check = "import sys, tfsctl.server.main; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


@pytest.mark.parametrize(("number", "protocol"), [(signal.SIGTERM, "REST"), (signal.SIGINT, "gRPC")])
def test_running_requests_finish_after_the_signal(tmp_path: Path, number: signal.Signals, protocol: str) -> None:
    """Then the process ends with status 0."""
    with serving(tmp_path, f"--drain_timeout_seconds={DRAIN_S}") as (process, ask, gate):
        over_rest: list[int] = []
        asking = threading.Thread(target=ask_rest, args=(process.rest_port, over_rest))
        if protocol == "REST":
            asking.start()
        else:
            over_grpc = ask.start(gated(), PATIENCE_S)
        gate.wait_for_run()

        process.process.send_signal(number)
        process.wait_for("Waiting for 1 running requests")
        gate.open()
        assert process.process.wait(STOP_S) == 0
        if protocol == "REST":
            asking.join()
            assert over_rest == [200]
        else:
            assert answer(over_grpc)["y"] == [1]


def test_new_requests_are_refused_after_the_signal(tmp_path: Path) -> None:
    """At once, so that clients can ask another server."""
    with serving(tmp_path, f"--drain_timeout_seconds={DRAIN_S}") as (process, ask, gate):
        running = ask.start(gated(), PATIENCE_S)
        gate.wait_for_run()
        process.process.send_signal(signal.SIGTERM)
        process.wait_for("Waiting for 1 running requests")
        with grpc.insecure_channel(f"{HOST}:{process.grpc_port}") as channel:
            late = Calls(channel)(predict("m", x=[1]))
        assert not running.done()
        gate.open()
        assert process.process.wait(STOP_S) == 0

    assert late.code == "UNAVAILABLE"
    assert answer(running)["y"] == [1]


def test_draining_has_a_time_limit(tmp_path: Path) -> None:
    """A request that takes longer than --drain_timeout_seconds is cancelled, and the log names the version it ran."""
    with serving(tmp_path, "--drain_timeout_seconds=1") as (process, ask, gate):
        running = ask.start(gated(), PATIENCE_S)
        gate.wait_for_run()
        code = process.end()

        assert not gate.is_open
        assert answer(running).code in ("UNAVAILABLE", "UNKNOWN")  # the connection broke

    assert code == 0
    logged = process.log.read_text()
    hard_limit = "Ended without waiting any longer: something still ran 1 s after the signal"  # on a slow machine
    assert "Did not unload servable version {name: m version: 1}" in logged or hard_limit in logged


@pytest.mark.parametrize("batching", [[], ["--enable_batching"]], ids=["coalesced", "batching"])
def test_a_run_without_a_request_does_not_delay_the_end(tmp_path: Path, batching: list[str]) -> None:
    """A run goes on after its client has left. Request logs are ended all the same."""
    config = tmp_path / "models.config"
    log = f'log_collector_config {{ filename_prefix: "{tmp_path}/log" }} sampling_config {{ sampling_rate: 1 }}'
    served = f'name: "m" base_path: "{tmp_path}/m" model_platform: "tensorflow"'
    config.write_text(f"model_config_list {{ config {{ {served} logging_config {{ {log} }} }} }}")
    flags = [f"--model_config_file={config}", f"--drain_timeout_seconds={DRAIN_S}", *batching]
    with serving(tmp_path, *flags) as (process, ask, gate):
        running = ask.start(gated(), PATIENCE_S)
        gate.wait_for_run()
        running.cancel()
        assert process.end() == 0
        assert not gate.is_open

    logged = process.log.read_text()
    assert "Did not unload servable version {name: m version: 1}" in logged
    assert "Ended the request log of model m" in logged


def test_ending_has_a_time_limit(tmp_path: Path) -> None:
    """Here the unloading of a version, which began before the signal, does not end."""
    flags = ["--drain_timeout_seconds=0", "--file_system_poll_wait_seconds=1", "--check_new_versions=never"]
    with serving(tmp_path, *flags) as (process, ask, gate):
        running = ask.start(gated(), PATIENCE_S)
        gate.wait_for_run()
        running.cancel()
        write_rows_model(tmp_path / "2")
        (tmp_path / "2").rename(tmp_path / "m" / "2")
        process.wait_for("Unloading servable version {name: m version: 1}")
        assert process.end() == 0
        assert not gate.is_open

    assert "Ended without waiting any longer: something still ran 0 s after the signal" in process.log.read_text()


def test_an_idle_server_ends_at_once(tmp_path: Path) -> None:
    """Also with open connections."""
    with serving(tmp_path, f"--drain_timeout_seconds={DRAIN_S}") as (process, ask, _):
        assert ask(predict("m", x=[1]))["y"] == [1]
        assert process.end() == 0

    assert "Done unloading servable version {name: m version: 1}" in process.log.read_text()


def test_a_server_that_waits_for_its_model_ends_at_once(tmp_path: Path) -> None:
    """It serves nothing yet, so there is nothing to wait for."""
    flags = [f"--model_base_path={tmp_path / 'nowhere'}", f"--drain_timeout_seconds={DRAIN_S}"]
    with started(tmp_path, *flags) as process:
        process.wait_for("Could not find base path")
        assert process.end() == 0


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    """Whatever is running."""
    with serving(tmp_path, f"--drain_timeout_seconds={DRAIN_S}") as (process, ask, gate):
        running = ask.start(gated(), PATIENCE_S)
        gate.wait_for_run()
        process.process.send_signal(signal.SIGTERM)
        process.wait_for(f"Waiting for 1 running requests, {DRAIN_S} s at most")
        process.process.send_signal(signal.SIGTERM)

        process.process.wait(STOP_S)
        assert not gate.is_open
        assert answer(running).code != "OK"


def test_no_request_breaks_under_load(tmp_path: Path) -> None:
    """Each request of a steady stream is answered or refused; none is cut off."""
    codes: list[tuple[str, str]] = []
    with serving(tmp_path, f"--drain_timeout_seconds={DRAIN_S}") as (process, ask, _):
        stop = threading.Event()

        def load() -> None:
            while not stop.is_set():
                got = ask(predict("m", x=[1]), PATIENCE_S)
                codes.append((got.code, got.details))

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_for(lambda: codes.count(("OK", "")) > 20)
        code = process.end()
        stop.set()
        for thread in threads:
            thread.join()

    assert code == 0
    assert {code for code, _ in codes} <= {"OK", "UNAVAILABLE"}
