"""A small predict request that is served without a task: its answer is sent as soon as its run has ended."""

from __future__ import annotations

import logging
from typing import Protocol

from tfsctl.server.execution.pending_run import Codec, PendingRun
from tfsctl.server.execution.servable import Servable
from tfsctl.server.http.exchange import Exchange
from tfsctl.server.rest.response import Send
from tfsctl.server.status import ServingError

log = logging.getLogger(__name__)


class Finisher(Protocol):
    """Sends the answers of direct runs."""

    def finish(self, run: DirectRun, outcome: object) -> None:
        """Send the outcome of a run: the body of the answer, an error, or None if it could not be converted."""


class DirectRun(PendingRun):
    """The run of an exchange, which is served by no task. Its outcome goes to a finisher instead of a future.

    `send` and `start_s` are for the finisher.
    """

    __slots__ = ("_finisher", "_is_done", "exchange", "send", "servable", "start_s")

    def __init__(
        self,
        exchange: Exchange,
        servable: Servable,
        codec: Codec,
        payload: object,
        *,
        rows: int,
        nbytes: int,
        may_merge: bool,
        deadline_s: float | None,
    ) -> None:
        super().__init__(
            codec.feeds,
            codec.fetches,
            payload,
            rows=rows,
            nbytes=nbytes,
            merge_key=codec if may_merge else None,
            deadline_s=deadline_s,
            client=exchange.client,
            is_alone=exchange.is_alone,
            codec=codec,
        )
        self.exchange, self.servable = exchange, servable
        self._is_done = False

    def begin(self, finisher: Finisher, send: Send, start_s: float) -> None:
        """Queue the run, which may end before this returns."""
        self._finisher, self.send, self.start_s = finisher, send, start_s
        self.exchange.task = self
        try:
            self.servable.submit(self)
        except ServingError as error:
            self._finish(error)

    @property
    def is_done(self) -> bool:
        """Whether it has an answer, or the client has left."""
        return self._is_done

    def settle(self, outcome: object) -> None:
        """Send the answer or the error, unless that was done before."""
        if self.due is not None:
            self.due.discard(self)
        if not self._is_done:
            self.servable.finish(self)
            self._finish(outcome)

    def cancel(self) -> None:
        """The client has left."""
        self.settle(None)

    def _finish(self, outcome: object) -> None:
        self._is_done = True
        try:
            self._finisher.finish(self, outcome)
        except Exception:  # a bug: the other requests of the batch are answered nevertheless
            log.exception("A request failed: %s", self.exchange.target)
            self.exchange.abort()
