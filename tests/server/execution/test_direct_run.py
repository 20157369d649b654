"""A run of a request without a task passes on one outcome, and ends the exchange if nobody waits for one."""

from __future__ import annotations

import logging
from typing import Any, cast

import pytest

from tfsctl.server.execution.pending_run import PendingRun
from tfsctl.server.execution.servable import DirectRun, Servable
from tfsctl.server.status import Code, ServingError


class FakeQueue:
    """Lets requests wait, or refuses them."""

    accepts_codecs = True

    def __init__(self, error: Exception | None) -> None:
        self._error = error
        self.waiting: list[PendingRun] = []

    def submit(self, run: PendingRun) -> None:
        """Let a request wait, or refuse it."""
        if self._error is not None:
            raise self._error
        run.is_waiting = True
        self.waiting.append(run)

    def cancel(self, run: PendingRun) -> None:
        """Forget a request."""
        run.is_waiting = False
        self.waiting.remove(run)


class Fakes:
    """A direct run that has begun, its exchange, and the outcomes that were passed on."""

    def __init__(self, refusal: Exception | None = None, bug: Exception | None = None) -> None:
        self.outcomes: list[object] = []
        self.ends = 0
        self.client: object = "c"
        self.target, self.is_alone, self.is_gone = "/t", True, False
        self.task: Any = None
        self.run: Any = None
        self._bug = bug
        self.queue = FakeQueue(refusal)
        self.servable = Servable("m", 1, cast("Any", None), (), cast("Any", self.queue))
        self.begun = DirectRun((), (), "payload", rows=1, nbytes=1)
        self.begun.begin(self, self.servable, self._finish)

    def end_service(self) -> None:
        """Count the ends of the exchange."""
        self.ends += 1
        self.task = None

    def _finish(self, run: DirectRun, outcome: object) -> None:
        assert run is self.begun
        if self._bug is not None:
            raise self._bug
        self.outcomes.append(outcome)
        self.end_service()

    @property
    def in_flight(self) -> int:
        """How many requests the version waits for before it is closed."""
        return self.servable._in_flight


def test_a_run_is_settled_once() -> None:
    """The first outcome counts, and the client may leave afterwards."""
    fakes = Fakes()
    assert (fakes.begun.client, fakes.begun.is_alone) == ("c", True)
    assert fakes.task is fakes.begun
    assert fakes.in_flight == 1
    fakes.begun.settle(b"answer")
    fakes.begun.settle(b"other")
    fakes.begun.cancel()
    assert fakes.begun.is_done
    assert fakes.outcomes == [b"answer"]
    assert (fakes.ends, fakes.in_flight) == (1, 0)


@pytest.mark.parametrize("error", [ServingError(Code.RESOURCE_EXHAUSTED, "full"), KeyError("a bug")])
def test_a_refused_run_is_answered_with_the_error(error: Exception) -> None:
    fakes = Fakes(refusal=error)
    assert fakes.outcomes == [error]
    assert (fakes.ends, fakes.in_flight) == (1, 0)


@pytest.mark.parametrize("has_outcome", [False, True])
def test_a_run_whose_client_has_left_is_forgotten(has_outcome: bool) -> None:
    """Whether it is cancelled, or has an outcome before that."""
    fakes = Fakes()
    fakes.is_gone = True
    if has_outcome:
        fakes.begun.settle(b"answer")
    fakes.begun.cancel()
    fakes.begun.settle(b"answer")
    assert fakes.outcomes == []
    assert fakes.queue.waiting == []
    assert (fakes.ends, fakes.in_flight) == (1, 0)


def test_a_bug_ends_the_exchange_only(caplog: pytest.LogCaptureFixture) -> None:
    """The other requests of a batch are answered."""
    fakes = Fakes(bug=KeyError("bug"))
    with caplog.at_level(logging.ERROR):
        fakes.begun.settle(b"answer")
    assert "bug" in caplog.text
    assert (fakes.ends, fakes.in_flight) == (1, 0)
