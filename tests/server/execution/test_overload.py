"""A server with more requests than it can run: bounded, fair, and at a constant cost for each request."""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from grpc_requests import calling, predict
from model_servers import Served, running_flags
from rest_requests import rest
from scale_models import write_scale_model

pytestmark = pytest.mark.server

PAGE = "/monitoring/prometheus/metrics"
PATIENCE_S = 60
CALLS = 2000  # that are measured at once: some tenths of a second of CPU
SLOW_MATRIX = 1000  # tens of milliseconds


@contextmanager
def serving(folder: Path, *flags: str, matmul_size: int = 0) -> Iterator[Served]:
    """A server of a model `m` whose rows are not merged, with metrics, for as long as the block runs."""
    write_scale_model(folder / "m" / "1", 2.0, matmul_size=matmul_size)
    monitoring = folder / "monitoring.config"
    monitoring.write_text(f'prometheus_config {{ enable: true path: "{PAGE}" }}')
    flags = ("--model_name=m", f"--model_base_path={folder / 'm'}", f"--monitoring_config_file={monitoring}", *flags)
    with running_flags(flags, folder) as server:
        yield server


def metric(server: Served, name: str) -> int:
    """The value of a metric, summed over its labels."""
    _, page, _ = rest(server, "GET", PAGE)
    found = re.findall(rb"^%b(?:\{[^}]*\})? (\d+)" % name.encode(), page, re.MULTILINE)
    return sum(map(int, found))


def until(condition: Any) -> None:
    """Poll until a condition holds."""
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s, "the condition never held"
        time.sleep(0.02)


def cpu_s(pid: int) -> float:
    """The CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_the_cost_of_a_call_does_not_grow_with_the_queue(tmp_path: Path) -> None:
    """The CPU time of a call with 1,000 waiting requests is close to that with 32."""
    with serving(tmp_path) as server, calling(server) as calls:

        def cost_s(at_once: int) -> float:
            before_s = cpu_s(server.pid)
            for _ in range(CALLS // at_once):
                answers = calls.together([predict("m", x=[1.0])] * at_once, timeout_s=PATIENCE_S)
                assert {answer.code for answer in answers} == {"OK"}
            return (cpu_s(server.pid) - before_s) / (CALLS // at_once * at_once)

        cost_s(32)
        assert cost_s(1000) < 2 * cost_s(32)


def test_a_single_request_does_not_wait_for_the_burst_of_another_client(tmp_path: Path) -> None:
    """It is answered while most of the other client's calls still wait."""
    with serving(tmp_path, matmul_size=SLOW_MATRIX) as server, calling(server) as burst:
        calls = [burst.start(predict("m", x=[1.0]), PATIENCE_S * 4) for _ in range(100)]
        until(lambda: any(call.done() for call in calls))
        status, body, _ = rest(server, "POST", "/v1/models/m:predict", b'{"instances": [2.0]}')
        assert (status, json.loads(body)) == (200, {"predictions": [4.0]})
        assert sum(call.done() for call in calls) < 50
        for call in calls:
            call.cancel()


def test_calls_of_a_client_that_left_are_dropped(tmp_path: Path) -> None:
    """Only those that were already running are completed."""
    runs = ":tensorflow:core:graph_run_time_usecs_histogram_count"
    with serving(tmp_path, matmul_size=SLOW_MATRIX) as server:
        with calling(server) as burst:
            calls = [burst.start(predict("m", x=[1.0]), PATIENCE_S * 4) for _ in range(2000)]
            until(lambda: any(call.done() for call in calls))
        until(lambda: metric(server, ":tfsctl:server:queued_requests") == 0)
        assert metric(server, runs) < 1000
        with calling(server) as other:
            assert other(predict("m", x=[2.0]), PATIENCE_S)["y"] == [4.0]


@pytest.fixture(scope="module")
def small_queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of a slow model where four requests may wait."""
    with serving(tmp_path_factory.mktemp("m"), "--max_queued_requests=4", matmul_size=SLOW_MATRIX) as server:
        yield server


def test_a_full_queue_answers_resource_exhausted(small_queue: Served) -> None:
    """Over gRPC. Calls that were accepted are answered."""
    with calling(small_queue) as calls:
        answers = calls.together([predict("m", x=[1.0])] * 60, timeout_s=PATIENCE_S)
    codes = Counter(answer.code for answer in answers)
    assert codes.keys() == {"OK", "RESOURCE_EXHAUSTED"}, {(answer.code, answer.details) for answer in answers}
    assert codes["OK"] >= 4
    refused = next(answer for answer in answers if answer.code != "OK")
    assert "4 requests are waiting (limit set by --max_queued_requests)" in refused.details


def test_a_full_queue_answers_429_with_retry_after(small_queue: Served) -> None:
    """Over REST."""
    with ThreadPoolExecutor(40) as threads:
        tasks = [
            threads.submit(rest, small_queue, "POST", "/v1/models/m:predict", b'{"instances": [1.0]}')
            for _ in range(40)
        ]
    answers = [one.result() for one in tasks]
    assert {status for status, _, _ in answers} == {200, 429}
    body, headers = next((body, headers) for status, body, headers in answers if status == 429)
    assert int(headers["retry-after"]) >= 1
    assert "--max_queued_requests" in json.loads(body)["error"]


def test_rejected_requests_are_counted(small_queue: Served) -> None:
    """In the metrics, with the reason."""
    with calling(small_queue) as calls:
        answers = calls.together([predict("m", x=[1.0])] * 60, timeout_s=PATIENCE_S)
    assert "RESOURCE_EXHAUSTED" in {answer.code for answer in answers}
    _, page, _ = rest(small_queue, "GET", PAGE)
    assert b"queue_full" in page
