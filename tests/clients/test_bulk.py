"""Bulk predictions: concurrent batches to real servers over both transports."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from graph_models import write_rows_model
from model_servers import Served, running_server

from tfsctl.clients.bulk import bulk_predictor
from tfsctl.clients.bulk.bulk_predictor import AnsweredBatch, BulkOptions, BulkPredictor, PredictBatch
from tfsctl.clients.connection import Transport
from tfsctl.clients.factory import open_client
from tfsctl.clients.serving_client import ServingClient
from tfsctl.core.batches import RowBatch, batch_reader
from tfsctl.core.types import ModelRef
from tfsctl.errors import InvalidInput, NotFound, RequestRejected, ServerUnreachable, TfsctlError

# A batch of more than 8 rows is refused; a ninth that waits is told so.
FOURS = "max_batch_size { value: 8 } max_enqueued_batches { value: 1 } batch_timeout_micros { value: 0 }"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose model `rows` returns the size of its batch, and whose model `small` accepts at most 8 rows."""
    folder = tmp_path_factory.mktemp("bulk")
    for name in ("rows", "small"):
        write_rows_model(folder / name / "1", slow=300)
    (folder / "small" / "1" / "batching_params.pbtxt").write_text(FOURS)
    common = folder / "batching.config"
    common.write_text("num_batch_threads { value: 1 } max_batch_size { value: 8 }")
    flags = ["--enable_batching", f"--batching_parameters_file={common}", "--enable_per_model_batching_parameters"]
    with running_server({name: folder / name for name in ("rows", "small")}, folder, flags=flags) as running:
        yield running


@pytest.fixture(params=["rest", "grpc"])
def client(request: pytest.FixtureRequest, server: Served) -> Iterator[ServingClient]:
    """A client of the server, over each transport."""
    over: Transport = request.param
    with open_client(over, server.host, server.rest_port if over == "rest" else server.grpc_port) as client:
        yield client


def batches(values: Any, of: int = 100) -> Iterator[RowBatch]:
    """Batches of float32 `x`."""
    array = np.asarray(values, np.float32)
    for start in range(0, len(array), of):
        part = array[start : start + of]
        yield RowBatch(np.arange(start + 1, start + 1 + len(part)), {"x": part}, start + len(part))


def asking(client: ServingClient, model: str = "rows", signature: str = "serving_default") -> PredictBatch:
    return lambda batch: client.predict(ModelRef(model), batch.arrays, signature=signature).outputs


def answers(values: Any, ask: PredictBatch, **options: Any) -> list[AnsweredBatch]:
    return list(BulkPredictor(batch_reader(batches(values)), ask, BulkOptions(**options)))


def outputs(answered: list[AnsweredBatch], name: str) -> list[float]:
    return [value for one in answered if len(one.batch) for value in one.outputs[name].tolist()]


@pytest.mark.server
@pytest.mark.parametrize("options", [{}, {"batch_size": 7, "concurrency": 5}, {"batch_size": 1, "concurrency": 1}])
def test_every_row_is_answered_in_order(client: ServingClient, options: dict[str, int]) -> None:
    """The answers have the order of the rows, whatever the batch size and the concurrency."""
    answered = answers(range(1000), asking(client), **options)

    assert outputs(answered, "y") == list(range(1000))
    assert [row for one in answered for row in one.batch.rows] == list(range(1, 1001))
    assert [one.batch.last_row for one in answered][-1] == 1000
    if "batch_size" in options:
        assert max(outputs(answered, "rows")) == options["batch_size"]


@pytest.mark.server
def test_the_row_that_cannot_be_answered_is_named(client: ServingClient) -> None:
    """The answers to the rows before it are returned first."""
    values = np.ones(200)
    values[149] = 0
    bulk = BulkPredictor(batch_reader(batches(values)), asking(client, signature="checked"), BulkOptions(batch_size=40))
    seen: list[int] = []
    with pytest.raises(RequestRejected, match=r"^row 150: .*not a number to divide by") as raised:
        seen.extend(len(one.batch) for one in bulk)

    assert sum(seen) == 120
    assert raised.value.hint


@pytest.mark.server
def test_rows_that_cannot_be_answered_are_left_out(client: ServingClient) -> None:
    """All other rows are answered; the rejects have the reason and the values."""
    values = np.arange(1, 201, dtype=np.float32)
    values[[0, 41, 42, 199]] = 0
    answered = answers(values, asking(client, signature="checked"), batch_size=40, skip_bad_rows=True)
    rejects = [reject for one in answered for reject in one.batch.rejects]

    assert [reject.row for reject in rejects] == [1, 42, 43, 200]
    assert all("not a number to divide by" in reject.error for reject in rejects)
    assert rejects[0].values == {"x": 0.0}
    assert outputs(answered, "y") == pytest.approx([1 / value for value in values if value])
    assert answered[-1].batch.last_row == 200


@pytest.mark.server
def test_batches_stay_within_what_the_server_takes(client: ServingClient) -> None:
    """For a server with limits of 8 rows and few concurrent requests."""
    bulk = BulkPredictor(batch_reader(batches(range(500))), asking(client, "small"), BulkOptions())
    answered = list(bulk)

    assert outputs(answered, "y") == list(range(500))
    assert bulk.settings.rows == 8


@pytest.mark.server
def test_output_without_a_value_per_row(client: ServingClient) -> None:
    """It is refused, unless each request has one row."""
    ask = asking(client, signature="total")
    with pytest.raises(InvalidInput, match=r"'y' has shape \[\] for 5 rows") as raised:
        answers(range(10), ask, batch_size=5)

    assert "--batch-size 1" in raised.value.hint
    assert outputs(answers(range(10), ask, batch_size=1), "y") == list(range(10))


@pytest.mark.server
def test_pending_batches_are_answered_after_stop(client: ServingClient) -> None:
    """No more requests are sent; the answers to those that were sent are kept."""
    sent: list[int] = []
    ask = asking(client, signature="slow")

    def counted(batch: RowBatch) -> Mapping[str, np.ndarray]:
        sent.append(len(batch))
        return ask(batch)

    bulk = BulkPredictor(batch_reader(batches(range(10_000))), counted, BulkOptions(batch_size=1, concurrency=4))
    answered = []
    for one in bulk:
        answered.append(one)
        bulk.stop()

    assert len(answered) == len(sent) < 100
    assert outputs(answered, "y") == list(range(len(sent)))


class Moody:
    """A server that fails the first attempts of each request."""

    def __init__(self, error: TfsctlError, times: int) -> None:
        self._error, self._times = error, times
        self._left: dict[int, int] = {}
        self._lock = threading.Lock()

    @property
    def most_tries(self) -> int:
        """The highest number of attempts of one request."""
        return max(self._times - left for left in self._left.values())

    def __call__(self, batch: RowBatch) -> Mapping[str, np.ndarray]:
        """Answer the request, if it was sent often enough."""
        with self._lock:
            first = int(batch.rows[0])
            left = self._left.setdefault(first, self._times)
            self._left[first] = left - 1
        if left > 0:
            raise self._error
        return {"y": batch.arrays["x"]}


@pytest.mark.parametrize(
    "error",
    [ServerUnreachable("no answer"), RequestRejected("Server Threadpool Exhausted", status="RESOURCE_EXHAUSTED")],
)
def test_temporary_failures_are_retried(error: TfsctlError, monkeypatch: pytest.MonkeyPatch) -> None:
    """The request is sent again, and the order is kept."""
    monkeypatch.setattr(bulk_predictor, "_FIRST_BACKOFF_S", 0.001)
    assert outputs(answers(range(100), Moody(error, 3), batch_size=10), "y") == list(range(100))


@pytest.mark.parametrize(
    "error", [ServerUnreachable("no answer"), NotFound("no model"), RequestRejected("no", status="PERMISSION_DENIED")]
)
def test_permanent_failures_are_raised(error: TfsctlError) -> None:
    """After some attempts, or at once if another attempt would not help."""
    moody = Moody(error, 10**9)
    with pytest.raises(type(error)):
        answers(range(100), moody, batch_size=10, retry_s=0.5)

    assert (moody.most_tries > 1) == isinstance(error, ServerUnreachable)


def test_outage_does_not_change_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only an overloaded server gets fewer concurrent requests."""
    monkeypatch.setattr(bulk_predictor, "_FIRST_BACKOFF_S", 0.001)
    away = BulkPredictor(
        batch_reader(batches(range(100))), Moody(ServerUnreachable("no answer"), 1), BulkOptions(batch_size=10)
    )
    busy = Moody(RequestRejected("Server Threadpool Exhausted", status="RESOURCE_EXHAUSTED"), 1)
    full = BulkPredictor(batch_reader(batches(range(100))), busy, BulkOptions(batch_size=10))

    assert len(outputs(list(away), "y")) == len(outputs(list(full), "y")) == 100
    assert full.settings.concurrency == 1 < away.settings.concurrency


def test_a_request_that_is_too_large_is_halved() -> None:
    """A proxy accepts 30 rows; larger requests are not tried again."""

    def ask(batch: RowBatch) -> Mapping[str, np.ndarray]:
        if len(batch) > 30:
            raise RequestRejected("Received message larger than max (9 vs. 4)", status="RESOURCE_EXHAUSTED")
        return {"y": batch.arrays["x"]}

    bulk = BulkPredictor(batch_reader(batches(range(1000))), ask, BulkOptions(batch_size=100))

    assert outputs(list(bulk), "y") == list(range(1000))
    assert bulk.settings.rows <= 50


def test_rows_are_not_read_ahead() -> None:
    """Rows are read when they are needed, so the source may be infinite."""
    taken = []

    def endless() -> Iterator[RowBatch]:
        for row in range(1, 10**9):
            taken.append(row)
            yield RowBatch(np.array([row]), {"x": np.array([row])}, row)

    bulk = BulkPredictor(
        batch_reader(endless()), lambda batch: {"y": batch.arrays["x"]}, BulkOptions(batch_size=2, concurrency=3)
    )
    first = next(iter(bulk))

    assert first.outputs["y"].tolist() == [1, 2]
    assert len(taken) <= 2 * 3 * 5


def test_a_model_that_takes_a_fixed_number_of_rows_gets_them() -> None:
    """Its error is raised unchanged, because fewer rows would be refused too."""

    def ask(_batch: RowBatch) -> Mapping[str, np.ndarray]:
        raise RequestRejected("no", status="INVALID_ARGUMENT")

    with pytest.raises(RequestRejected, match=r"^no$"):
        answers(range(8), ask, batch_size=4, divisible=False)


def test_rejected_rows_have_the_values_of_every_dtype() -> None:
    """Strings, bytes, lists and numbers, as JSON values."""
    arrays = {
        "text": np.array([b"a", b"\xff"], object),
        "texts": np.array([[b"a", b"b"], [b"c", b"d"]], object),
        "number": np.array([1.5, 2.0], np.float32),
        "numbers": np.array([[1, 2], [3, 4]]),
    }

    def refuse(_batch: RowBatch) -> Mapping[str, np.ndarray]:
        raise RequestRejected("no", status="INVALID_ARGUMENT")

    source = iter([RowBatch(np.arange(1, 3), arrays, 2)])
    bulk = BulkPredictor(batch_reader(source), refuse, BulkOptions(skip_bad_rows=True, batch_size=1))
    values = [reject.values for one in bulk for reject in one.batch.rejects]
    assert values == [
        {"text": "a", "texts": ["a", "b"], "number": 1.5, "numbers": [1, 2]},
        {"text": {"b64": "/w=="}, "texts": ["c", "d"], "number": 2.0, "numbers": [3, 4]},
    ]
