"""Coalesced REST requests get the same answers as alone; merged ones up to the last bits of a float."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import re
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counted_runs import counting_flags, graph_runs, metric_sum
from function_models import write_function_model
from model_servers import Served, running_flags
from rest_requests import rest
from scale_models import write_scale_model

pytestmark = pytest.mark.server

CLIENTS, TIMEOUT_S = 24, 240


class OnePieceConnection(http.client.HTTPConnection):
    """Sends the head and the body of a request in one piece: only then are requests converted together."""

    _pieces: list[bytes] | None = None

    def request(self, *arguments: Any, **options: Any) -> None:
        """Send a request."""
        pieces = self._pieces = []
        super().request(*arguments, **options)
        self._pieces = None
        self.send(b"".join(pieces))

    def send(self, data: Any) -> None:
        """Send a piece, or keep it for later."""
        if self._pieces is None:
            super().send(data)
        else:
            self._pieces.append(data)


@dataclass(frozen=True)
class CountingServer:
    """A server with a model `m`, whose runs of the graph are counted."""

    server: Served

    def answer_alone(self, body: bytes) -> tuple[int, bytes]:
        """The answer to a body that is sent alone."""
        status, answer, _ = rest(self.server, "POST", "/v1/models/m:predict", body)
        return status, answer

    def answer_in_turn(self, bodies: Sequence[bytes]) -> list[tuple[int, bytes]]:
        """The answers to bodies that one client sends, one after the other."""
        connection = OnePieceConnection(self.server.host, self.server.rest_port, timeout=240)
        answers = []
        for body in bodies:
            connection.request("POST", "/v1/models/m:predict", body)
            response = connection.getresponse()
            answers.append((response.status, response.read()))
        connection.close()
        return answers

    def answer_concurrently(self, bodies: Sequence[bytes]) -> list[tuple[int, bytes]]:
        """The answers to bodies that many clients send at the same time, each client one after the other."""
        start = threading.Barrier(CLIENTS)

        def client(number: int) -> list[tuple[int, bytes]]:
            start.wait()
            return self.answer_in_turn(bodies[number::CLIENTS])

        with ThreadPoolExecutor(CLIENTS) as threads:
            each = list(threads.map(client, range(CLIENTS)))
        return [each[index % CLIENTS][index // CLIENTS] for index in range(len(bodies))]

    def count(self, metric: str) -> int:
        """The value of a metric, over all its labels."""
        return metric_sum(self.server, metric)

    def runs(self) -> int:
        """How many runs of the graph there were so far."""
        return graph_runs(self.server)

    def until_coalesced(self, bodies: Sequence[bytes]) -> None:
        """Send bodies until many requests take few runs: measuring the model and making replicas takes a moment."""
        deadline_s = time.monotonic() + TIMEOUT_S
        for _ in itertools.count():
            before = self.runs()
            self.answer_concurrently(bodies)
            if self.runs() - before < len(bodies) / 2:
                return
            assert time.monotonic() < deadline_s, "each request had a run of its own"


@contextmanager
def counting_server(base: Path, folder: Path, *flags: str) -> Iterator[CountingServer]:
    """A server of the model in `base` for as long as the block runs."""
    with running_flags([*counting_flags(base, folder), *flags], folder) as server:
        yield CountingServer(server)


TEXTS = [
    *(b'{"instances": ["%b"]}' % b" ".join([b"good"] * words) for words in range(1, 12)),
    *(b'{"instances": ["bad %d", "and good"]}' % number for number in range(4)),
    b'{"instances": [{"text": "great"}]}',
    b'{"instances": [{"text": "great"}, {"text": "awful"}]}',
    b'{"signature_name": "serving_default", "instances": ["great"]}',
    b'{"instances": ["great"], "signature_name": ""}',
    b'{"instances": ["great"], "signature_name": "nothing"}',
    b'{"instances": ["great"], "instances": ["awful"]}',
    b'{"instances": ["great"], "other": 1}',
    b'{"instances": [{"b64": "Z3JlYXQ="}]}',
    b'{"instances": [["great"]]}',
    b'{"instances": [[]]}',
    b'{"instances": [{"text": "great", "more": 1}]}',
    b'{"instances": [{"wrong": "great"}]}',
    b'{"instances": ["great", {"text": "great"}]}',
    b'{"instances": ["great", 1]}',
    b'{"instances": [1.5]}',
    b'{"instances": [true]}',
    b'{"instances": [null]}',
    b'{"instances": ["great"]} and more',
    b'{"instances": ["gr\\u00e9at: \\"quoted\\", \\ud83d\\ude00"]}',
    '{"instances": ["größer ☃"]}'.encode(),
    b'{"instances": ["\xff\xfe"]}',
    b'{"instances": [""]}',
    b'{"instances": ["%b"]}' % (b"long " * 2000),
    b'{"instances": [%b]}' % b", ".join([b'"many"'] * 200),
    b'{"inputs": ["great"]}',
    b'{"inputs": "great"}',
    b'{"instances": []}',
    b'{"instances": "great"}',
    b'{"instances": ["great"}',
    b'["great"]',
    b"",
]


@pytest.mark.parametrize("batching", ["auto", "off"])
def test_coalesced_bodies_get_the_same_answers_as_alone(sample_models_dir: Path, tmp_path: Path, batching: str) -> None:
    """Bodies of every kind, at the same time and in any order, for a model with merged runs and for one without."""
    with counting_server(sample_models_dir / "amazon_review", tmp_path, f"--batching={batching}") as server:
        alone = {body: server.answer_alone(body) for body in TEXTS}
        server.until_coalesced([b'{"instances": ["great: %d"]}' % number for number in range(240)])
        order = random.Random(1)
        for _ in range(10):
            bodies = order.sample(TEXTS, len(TEXTS)) + order.choices(TEXTS[:15], k=100)
            answers = server.answer_concurrently(bodies)
            for body, answer in zip(bodies, answers, strict=True):
                if batching == "off":
                    assert answer == alone[body]
                else:
                    _check_close(answer, alone[body])


def _check_close(answer: tuple[int, bytes], alone: tuple[int, bytes]) -> None:
    """The same answer, but that a row's last bits may depend on how many rows there are."""
    number = re.compile(rb"\d\.\d+")
    assert answer[0] == alone[0]
    assert number.sub(b"", answer[1]) == number.sub(b"", alone[1])
    assert [float(found) for found in number.findall(answer[1])] == pytest.approx(
        [float(found) for found in number.findall(alone[1])], abs=1e-6
    )


NUMBER_ROWS = [
    *(json.dumps({"instances": [[number / 7, -number, 1e-40][: 1 + number % 3]]}).encode() for number in range(60)),
    b'{"instances":[[1,2.5e0]]}',
    b'{"instances": [ [ 1e39, -1e-46 ] ]}',
    b'{"instances": [[1, 2], [3, 4]]}',
    b'{"instances": [[[1, 2]]]}',
    b'{"instances": [1.5, 2]}',
    b'{"instances": [{"x": [1, 2]}]}',
    b'{"instances": [[1, 2]], "signature_name": "serving_default"}',
    b'{"instances": [[1, 2]], "signature_name": "nothing"}',
    b'{"instances": [[1, 2]], "instances": [[3, 4]]}',
    b'{"instances": [[1, NaN]]}',
    b'{"instances": [[1, true]]}',
    b'{"instances": [[1, "2"]]}',
    b'{"instances": [[1], 2]}',
    b'{"instances": [[]]}',
    b'{"instances": [[1, 2]',
]


@pytest.mark.parametrize("batching", ["on", "off"])
def test_coalesced_rows_of_numbers_get_the_same_answers_as_alone(tmp_path: Path, batching: str) -> None:
    """Rows of one, two and three numbers, and bodies that are almost like these, with merged runs and without."""
    write_scale_model(tmp_path / "m" / "1", 2.0)
    with counting_server(tmp_path / "m", tmp_path, f"--batching={batching}") as server:
        alone = {body: server.answer_alone(body) for body in NUMBER_ROWS}
        answers = [json.loads(alone[body][1])["predictions"] for body in NUMBER_ROWS[:60]]
        rows = [json.loads(body)["instances"] for body in NUMBER_ROWS[:60]]
        np.testing.assert_allclose(
            list(itertools.chain.from_iterable(row for (row,) in answers)),
            [2 * value if abs(value) > 1e-38 else 0 for (row,) in rows for value in row],
            rtol=1e-6,
        )
        for seed in range(5):
            bodies = random.Random(seed).sample(NUMBER_ROWS * 3, 3 * len(NUMBER_ROWS))
            assert server.answer_concurrently(bodies) == [alone[body] for body in bodies]
            assert server.answer_in_turn(bodies) == [alone[body] for body in bodies]


@pytest.fixture(scope="module")
def centred(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CountingServer]:
    """A model whose answer to a row depends on all rows of its request: a row too many would show."""
    folder = tmp_path_factory.mktemp("rest_together")
    write_function_model(folder / "m" / "1")
    with counting_server(folder / "m", folder) as server:
        yield server


def _bodies(signature: str = "") -> list[bytes]:
    numbers = itertools.count(1)
    rows = [[float(next(numbers)) for _ in range(1 + index % 3)] for index in range(240)]
    return [
        json.dumps({"signature_name": signature, "instances": row} if signature else {"instances": row}).encode()
        for row in rows
    ]


def test_rows_stay_with_their_request(centred: CountingServer) -> None:
    """Requests of one, two and three rows, and of integers and fractions."""
    bodies = [*_bodies(), b'{"instances": [1, 2.5, 4]}', b'{"instances": [1, 2]}', b'{"instances": [true, 1]}']
    alone = {body: centred.answer_alone(body) for body in bodies}
    centred.until_coalesced(bodies)
    for _ in range(3):
        assert centred.answer_concurrently(bodies) == [alone[body] for body in bodies]


def test_requests_with_outputs_of_different_shapes_are_coalesced(centred: CountingServer) -> None:
    """They cannot be stacked, but are answered."""
    bodies = [b'{"signature_name": "filled", "instances": [%d]}' % (1 + number % 5) for number in range(240)]
    alone = {body: centred.answer_alone(body) for body in set(bodies)}
    for _ in range(5):
        assert centred.answer_concurrently(bodies) == [alone[body] for body in bodies]


def test_a_failing_request_fails_alone(centred: CountingServer) -> None:
    """The others in its batch are answered."""
    good = _bodies("checked")
    centred.until_coalesced(good)
    bodies = [b'{"signature_name": "checked", "instances": [%d.0]}' % (number % 8) for number in range(240)]
    alone = {body: centred.answer_alone(body) for body in set(bodies)}
    assert {status for status, _ in alone.values()} == {200, 400}
    for _ in range(3):
        assert centred.answer_concurrently(bodies) == [alone[body] for body in bodies]


def test_every_request_is_counted(centred: CountingServer) -> None:
    """Coalesced requests count in the metrics like single ones."""
    bodies = _bodies()
    metrics = [":tensorflow:serving:request_latency_count", ":tensorflow:serving:runtime_latency_count"]
    before = [centred.count(metric) for metric in metrics]
    centred.answer_concurrently(bodies)
    after = [centred.count(metric) for metric in metrics]
    assert [new - old for old, new in zip(before, after, strict=True)] == [len(bodies)] * 2
