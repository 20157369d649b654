"""Requests run as parallel calls in one run of the graph, with the same answers as alone."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from counted_runs import counting_flags, graph_runs
from function_models import write_function_model
from grpc_requests import Answer, Calls, calling, predict
from model_servers import Served, running_flags

pytestmark = pytest.mark.server

CONCURRENT_CALLS, TIMEOUT_S = 40, 240


@dataclass(frozen=True)
class CountingServer:
    """A server whose runs of the graph are counted, and calls to it."""

    server: Served
    call: Calls

    def flood(self, signature: str, rows: list[list[float]]) -> tuple[list[Answer], int]:
        """The answers to many calls at once, and how many runs of the graph that took."""
        before = self.runs()
        answers = self.call.together([predict("m", signature, x=row) for row in rows])
        return answers, self.runs() - before

    def runs(self) -> int:
        """How many runs of the graph there were so far."""
        return graph_runs(self.server)


@contextmanager
def running_counting_server(base: Path, folder: Path, *flags: str) -> Iterator[CountingServer]:
    """A server of the model in `base` for as long as the block runs."""
    with running_flags([*counting_flags(base, folder), *flags], folder) as server, calling(server) as calls:
        yield CountingServer(server, calls)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base directory of a model of functions."""
    folder = tmp_path_factory.mktemp("functions")
    write_function_model(folder / "m" / "1")
    return folder / "m"


@pytest.fixture(scope="module")
def counting_server(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CountingServer]:
    """A server with a model of functions."""
    with running_counting_server(base, tmp_path_factory.mktemp("parallel")) as server:
        for _ in range(20):  # enough to find that it is quick
            server.call(predict("m", x=[1.0]))
        yield server


def until_replicas_run(flood: Callable[[int], int]) -> None:
    """Flood again and again, until many requests take few runs of the graph: making replicas takes a moment."""
    deadline_s = time.monotonic() + TIMEOUT_S
    for index in itertools.count():
        if flood(index) < CONCURRENT_CALLS / 2:
            return
        assert time.monotonic() < deadline_s, "each request had a run of its own"


def test_parallel_calls_give_the_same_answers_as_single_runs(counting_server: CountingServer) -> None:
    """No request sees the rows of another."""

    def flood(index: int) -> int:
        rows = [[float(index + call), *range(call % 3)] for call in range(CONCURRENT_CALLS)]
        answers, runs = counting_server.flood("", rows)
        for row, answer in zip(rows, answers, strict=True):
            mean = sum(row) / len(row)
            assert answer["y"] == pytest.approx([x - mean for x in row], abs=1e-4)
        return runs

    until_replicas_run(flood)


@pytest.mark.parametrize("in_a_row", [20, 1])
def test_parallel_calls_may_have_outputs_of_different_shapes(counting_server: CountingServer, in_a_row: int) -> None:
    """Inputs of the same shape may give outputs of different shapes, in one thread or in several."""

    def flood(index: int) -> int:
        sizes = [1 + (index + call // in_a_row) % 5 for call in range(CONCURRENT_CALLS)]
        answers, runs = counting_server.flood("filled", [[float(size)] for size in sizes])
        assert [answer["y"] for answer in answers] == [[1.0] * size for size in sizes]
        return runs

    until_replicas_run(flood)


def test_a_call_with_a_wrong_dtype_fails_alone(counting_server: CountingServer) -> None:
    """Integers among floats are refused, and the other calls are answered."""

    def flood(index: int) -> int:
        rows = [[float(index + call), 1.0] for call in range(CONCURRENT_CALLS)]
        requests = [
            predict("m", x=np.array(row, np.int32 if call == 7 else np.float32)) for call, row in enumerate(rows)
        ]
        before = counting_server.runs()
        for call, (row, answer) in enumerate(zip(rows, counting_server.call.together(requests), strict=True)):
            if call == 7:
                assert answer.code == "INVALID_ARGUMENT"
            else:
                assert answer["y"] == pytest.approx([x - sum(row) / 2 for x in row], abs=1e-4)
        return counting_server.runs() - before

    for index in range(3):
        flood(index)


def test_a_failing_call_fails_alone(counting_server: CountingServer) -> None:
    """The calls that run with it are answered."""

    def flood(index: int) -> int:
        rows = [[float(index * CONCURRENT_CALLS + call + 1)] for call in range(CONCURRENT_CALLS)]
        answers, runs = counting_server.flood("checked", rows)
        assert [answer["y"] for answer in answers] == [[pytest.approx(1 / x)] for (x,) in rows]
        return runs

    until_replicas_run(flood)
    answers, _ = counting_server.flood("checked", [[float(call % 8)] for call in range(CONCURRENT_CALLS)])
    for call, answer in enumerate(answers):
        if call % 8:
            assert answer["y"] == [pytest.approx(1 / (call % 8))]
        else:
            assert answer.code == "INVALID_ARGUMENT"
            assert "not a number to divide by" in answer.details


@pytest.mark.parametrize("signature", ["random", "counted"])
def test_functions_with_effects_run_alone(base: Path, tmp_path: Path, signature: str) -> None:
    """Random numbers, and changes of a table: a failed run of several calls would have to be repeated.

    The test has a server of its own, because making replicas of other signatures also takes runs.
    """
    with running_counting_server(base, tmp_path) as counting_server:
        for _ in range(20):  # enough to find that it is quick
            counting_server.call(predict("m", signature, x=[-1.0]))
        for index in range(10):
            answers, runs = counting_server.flood(
                signature, [[float(index * CONCURRENT_CALLS + call)] for call in range(CONCURRENT_CALLS)]
            )
            assert runs == CONCURRENT_CALLS
            if signature == "counted":
                first = 2 + index * CONCURRENT_CALLS  # -1 was the first
                counts = sorted(answer["y"][0] for answer in answers)  # of two runs at a time, both may count both
                assert all(count >= least for least, count in enumerate(counts, first))
                assert counts[-1] == first + CONCURRENT_CALLS - 1


def test_exported_models_have_replicas_with_identical_answers(sample_models_dir: Path, tmp_path: Path) -> None:
    """Also models with tables and variables."""
    with running_counting_server(sample_models_dir / "amazon_review", tmp_path, "--batching=off") as counting_server:
        texts = [np.array([f"review {number} is great"[: 5 + number].encode()]) for number in range(CONCURRENT_CALLS)]
        requests = [predict("m", text=text) for text in texts]
        alone = [counting_server.call(request)["score"] for request in requests]

        def flood(_: int) -> int:
            before = counting_server.runs()
            assert [answer["score"] for answer in counting_server.call.together(requests)] == alone
            return counting_server.runs() - before

        until_replicas_run(flood)
