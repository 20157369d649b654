"""Threads that run models have a lower priority than those that answer requests."""

from __future__ import annotations

import http.client
import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from model_servers import Served, running_flags, running_server
from scale_models import write_scale_model

pytestmark = pytest.mark.server

MATRIX = 1200  # some 50 ms a run
CLIENTS = 6


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    """A server with a slow and a quick model."""
    write_scale_model(tmp_path / "slow" / "1", 1.0, matmul_size=MATRIX)
    write_scale_model(tmp_path / "quick" / "1", 1.0)
    with running_server({name: tmp_path / name for name in ("slow", "quick")}, tmp_path) as running:
        yield running


def ask(server: Served, model: str) -> float:
    """Send one predict request. Returns its duration in seconds."""
    start_s = time.monotonic()
    connection = http.client.HTTPConnection(server.host, server.rest_port, timeout=240)
    connection.request("POST", f"/v1/models/{model}:predict", b'{"instances": [1.0]}')
    assert connection.getresponse().status == 200
    connection.close()
    return time.monotonic() - start_s


def test_a_slow_model_does_not_delay_another(server: Served) -> None:
    """While all cores multiply matrices, a quick model answers far sooner than one of those runs ends."""
    stop, slow_s = threading.Event(), []

    def load() -> None:
        while not stop.is_set():
            slow_s.append(ask(server, "slow"))

    threads = [threading.Thread(target=load) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        quick_s = [ask(server, "quick") for _ in range(150)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert statistics.median(quick_s) < statistics.median(slow_s) / 4


def test_flags_decide_the_number_of_threads_and_all_have_low_priority(tmp_path: Path) -> None:
    """The flags decide how many threads TensorFlow has, and all of them give way to those of the server itself."""
    write_scale_model(tmp_path / "m" / "1", 1.0)
    flags = ["--model_name=m", f"--model_base_path={tmp_path / 'm'}"]
    with running_flags([*flags, "--tensorflow_inter_op_parallelism=5"], tmp_path) as server:
        threads = Counter(_threads(server.pid))
        main = os.getpriority(os.PRIO_PROCESS, server.pid)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert threads["tf_Compute", min(own + 10, 19)] == 5
    assert main == own


def _threads(pid: int) -> Iterator[tuple[str, int]]:
    """The name and the nice value of each thread of a process."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        yield (task / "comm").read_text().strip(), int((task / "stat").read_text().rpartition(")")[2].split()[16])
