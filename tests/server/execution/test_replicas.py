"""Requests run as parallel calls in one run of the graph, with the same answers as alone."""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from asking import rest
from calls import Answer, Calls, calling, predict
from function_models import write_function_model
from model_servers import Served, running_flags

pytestmark = pytest.mark.server

PAGE = "/monitoring/prometheus/metrics"
TOGETHER, PATIENCE_S = 40, 240


@dataclass(frozen=True)
class Asked:
    """A server, and calls to it."""

    server: Served
    call: Calls

    def flood(self, signature: str, rows: list[list[float]]) -> tuple[list[Answer], int]:
        """The answers to many calls at once, and how many runs of the graph that took."""
        before = self.runs()
        answers = self.call.together([predict("m", signature, x=row) for row in rows])
        return answers, self.runs() - before

    def runs(self) -> int:
        """How many runs of the graph there were so far."""
        _, page, _ = rest(self.server, "GET", PAGE)
        found = re.search(rb"^:tensorflow:core:graph_run_time_usecs_histogram_count\{\} (\d+)", page, re.MULTILINE)
        return int(found[1]) if found else 0


@contextmanager
def counted(base: Path, folder: Path, *flags: str) -> Iterator[Asked]:
    """A server of the model in `base`, which counts the runs of its graph, while the block lasts."""
    monitoring = folder / "monitoring.config"
    monitoring.write_text(f'prometheus_config {{ enable: true path: "{PAGE}" }}')
    flags = ("--model_name=m", f"--model_base_path={base}", f"--monitoring_config_file={monitoring}", *flags)
    with running_flags(flags, folder) as server, calling(server) as calls:
        yield Asked(server, calls)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base directory of a model of functions."""
    folder = tmp_path_factory.mktemp("functions")
    write_function_model(folder / "m" / "1")
    return folder / "m"


@pytest.fixture(scope="module")
def asked(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    """A server with a model of functions."""
    with counted(base, tmp_path_factory.mktemp("parallel")) as server:
        for _ in range(20):  # enough to find that it is quick
            server.call(predict("m", x=[1.0]))
        yield server


def until_replicas_run(flood: Callable[[int], int]) -> None:
    """Flood again and again, until many requests take few runs of the graph: making replicas takes a moment."""
    deadline_s = time.monotonic() + PATIENCE_S
    for index in itertools.count():
        if flood(index) < TOGETHER / 2:
            return
        assert time.monotonic() < deadline_s, "each request had a run of its own"


def test_parallel_calls_give_the_same_answers_as_single_runs(asked: Asked) -> None:
    """No request sees the rows of another."""

    def flood(index: int) -> int:
        rows = [[float(index + call), *range(call % 3)] for call in range(TOGETHER)]
        answers, runs = asked.flood("", rows)
        for row, answer in zip(rows, answers, strict=True):
            mean = sum(row) / len(row)
            assert answer["y"] == pytest.approx([x - mean for x in row], abs=1e-4)
        return runs

    until_replicas_run(flood)


@pytest.mark.parametrize("in_a_row", [20, 1])
def test_parallel_calls_may_have_outputs_of_different_shapes(asked: Asked, in_a_row: int) -> None:
    """Inputs of the same shape may give outputs of different shapes, in one thread or in several."""

    def flood(index: int) -> int:
        sizes = [1 + (index + call // in_a_row) % 5 for call in range(TOGETHER)]
        answers, runs = asked.flood("filled", [[float(size)] for size in sizes])
        assert [answer["y"] for answer in answers] == [[1.0] * size for size in sizes]
        return runs

    until_replicas_run(flood)


def test_a_call_with_a_wrong_dtype_fails_alone(asked: Asked) -> None:
    """Integers among floats are refused, and the other calls are answered."""

    def flood(index: int) -> int:
        rows = [[float(index + call), 1.0] for call in range(TOGETHER)]
        requests = [
            predict("m", x=np.array(row, np.int32 if call == 7 else np.float32)) for call, row in enumerate(rows)
        ]
        before = asked.runs()
        for call, (row, answer) in enumerate(zip(rows, asked.call.together(requests), strict=True)):
            if call == 7:
                assert answer.code == "INVALID_ARGUMENT"
            else:
                assert answer["y"] == pytest.approx([x - sum(row) / 2 for x in row], abs=1e-4)
        return asked.runs() - before

    for index in range(3):
        flood(index)


def test_a_failing_call_fails_alone(asked: Asked) -> None:
    """The calls that run with it are answered."""

    def flood(index: int) -> int:
        rows = [[float(index * TOGETHER + call + 1)] for call in range(TOGETHER)]
        answers, runs = asked.flood("checked", rows)
        assert [answer["y"] for answer in answers] == [[pytest.approx(1 / x)] for (x,) in rows]
        return runs

    until_replicas_run(flood)
    answers, _ = asked.flood("checked", [[float(call % 8)] for call in range(TOGETHER)])
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
    with counted(base, tmp_path) as asked:
        for _ in range(20):  # enough to find that it is quick
            asked.call(predict("m", signature, x=[-1.0]))
        for index in range(10):
            answers, runs = asked.flood(signature, [[float(index * TOGETHER + call)] for call in range(TOGETHER)])
            assert runs == TOGETHER
            if signature == "counted":
                first = 2 + index * TOGETHER  # -1 was the first
                assert sorted(answer["y"][0] for answer in answers) == list(range(first, first + TOGETHER))


def test_exported_models_have_replicas_with_identical_answers(sample_models_dir: Path, tmp_path: Path) -> None:
    """Also models with tables and variables."""
    with counted(sample_models_dir / "amazon_review", tmp_path, "--batching=off") as asked:
        texts = [np.array([f"review {number} is great"[: 5 + number].encode()]) for number in range(TOGETHER)]
        requests = [predict("m", text=text) for text in texts]
        alone = [asked.call(request)["score"] for request in requests]

        def flood(_: int) -> int:
            before = asked.runs()
            assert [answer["score"] for answer in asked.call.together(requests)] == alone
            return asked.runs() - before

        until_replicas_run(flood)
