"""The lanes of one session, by what runs feed and fetch; made ready in the background once requests wait for them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from itertools import accumulate, islice
from typing import TypeVar

import numpy as np

from tfsctl.server.execution.jobs import Outcome, Waiting, joined
from tfsctl.server.execution.replica_graph import NoLanesError
from tfsctl.server.execution.replicas import WIDTHS, Lanes
from tfsctl.server.runtime.run_timing import RunTiming
from tfsctl.server.runtime.session import Endpoint, Feeds, Session
from tfsctl.server.status import ServingError

log = logging.getLogger(__name__)

_S = TypeVar("_S")
_T = TypeVar("_T")
_MANY_KINDS = 8  # clients may fetch outputs in ever new combinations
_WIDE = 8  # requests a thread: TensorFlow works for as long as it takes to wake one, several times over


class SideBySide:
    """Runs quick requests side by side, on one event loop; lanes are made in a thread.

    That one gives way to nobody: it takes half a second, and while others keep the processors busy would take many.
    Many requests are shared out to threads that the caller waits for: with its own share inside TensorFlow too, nobody
    waits for Python's lock, which is what makes any other handing over dearer than what it frees.
    """

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"lanes-{name}")
        self._workers = os.cpu_count() or 1
        self._helpers = ThreadPoolExecutor(self._workers, thread_name_prefix=f"help-{name}")
        self.most = WIDTHS[-1] * self._workers
        """How many requests are worth running at once."""
        self._lanes: dict[object, Lanes] = {}
        self._tried: set[object] = set()
        self._is_closed = False

    def is_ready(self, kind: object) -> bool:
        """Whether runs of this kind may go side by side."""
        return kind in self._lanes

    def may_stack(self, kind: object) -> bool:
        """Whether requests of this kind may be handed over as one."""
        return kind in self._lanes and self._lanes[kind].may_pack

    def run(self, together: Sequence[Waiting], timing: RunTiming) -> list[Outcome]:
        """Run requests of one kind, on this thread and helpers. Raises if one of them fails."""
        lanes = self._lanes[together[0].kind]
        if lanes.may_pack and (stack := _stacked(together)) is not None:
            try:
                return self._run_stack(lanes, stack, together, timing)
            except ServingError:
                outcomes = self._run_each(lanes, together, timing)
                lanes.may_pack = False  # there was nothing wrong with the requests
                return outcomes
        return self._run_each(lanes, together, timing)

    def _run_stack(
        self, lanes: Lanes, stack: Sequence[np.ndarray], together: Sequence[Waiting], timing: RunTiming
    ) -> list[Outcome]:
        shares = [[array[share] for array in stack] for share in self._shares(len(stack[0]))]
        done = self._at_once(lanes.run_stack, shares, len(shares[0][0]), timing)
        arrays = joined(done)
        if len(together) == 1:
            return [(together[0], arrays)]
        ends = accumulate(one.parts for one in together)
        return [
            (one, [array[end - one.parts : end] if one.is_stack else array[end - 1, ...] for array in arrays])
            for one, end in zip(together, ends, strict=True)
        ]

    def _run_each(self, lanes: Lanes, together: Sequence[Waiting], timing: RunTiming) -> list[Outcome]:
        requests = [feeds for one in together for feeds in one.each()]
        shares = [requests[share] for share in self._shares(len(requests))]
        done = iter([arrays for part in self._at_once(lanes.run, shares, len(shares[0]), timing) for arrays in part])
        return [(one, one.put_together(list(islice(done, one.parts)))) for one in together]

    def _shares(self, count: int) -> list[slice]:
        """Where to part so many requests, for as many threads as are worth it."""
        threads = max(1, min(self._workers, count // _WIDE))
        return [slice(count * index // threads, count * (index + 1) // threads) for index in range(threads)]

    def _at_once(self, run: Callable[[_S], _T], shares: Sequence[_S], requests: int, timing: RunTiming) -> list[_T]:
        """Run every share in a thread; the first, of so many requests, in this one, which tells the timing."""
        others = [self._helpers.submit(run, share) for share in shares[1:]]
        try:
            mine = timing.run_inline(partial(run, shares[0]), requests)
        finally:
            wait(others)  # nothing may be left running
        return [mine, *(other.result() for other in others)]

    def want(self, example: Waiting) -> None:
        """Have lanes made for runs like this one, which has been run, unless that was tried."""
        kind = example.kind
        if kind not in self._tried and len(self._tried) < _MANY_KINDS:
            self._tried.add(kind)
            if not example.answer.cancelled() and example.answer.exception() is None:
                self._thread.submit(self._make, kind, example.feeds, example.fetches)

    def close(self) -> None:
        """Make no more lanes. Nothing may be run any more."""
        self._is_closed = True
        self._helpers.shutdown(wait=True)
        self._thread.shutdown(wait=True)

    def _make(self, kind: object, feeds: Feeds, fetches: Sequence[Endpoint]) -> None:
        try:
            lanes = Lanes(self._session, [endpoint for endpoint, _ in feeds], fetches)
            for width in WIDTHS:
                if self._is_closed:
                    return
                lanes.make_ready(width, feeds)
                self._lanes[kind] = lanes
        except NoLanesError:
            pass
        except ServingError as error:
            log.warning("Requests cannot be run side by side: %s", error.message)
        except Exception:  # the one door for bugs: runs go on one by one
            log.exception("Requests cannot be run side by side")


def _stacked(together: Sequence[Waiting]) -> list[np.ndarray] | None:
    """The tensors of all requests, one array for each feed; None where they are not all of one shape and dtype."""
    if len(together) == 1 and together[0].is_stack:
        return [array for _, array in together[0].feeds]
    each = [[array if one.is_stack else array[None] for _, array in one.feeds] for one in together]
    if any(
        array.shape[1:] != like.shape[1:] or array.dtype != like.dtype
        for arrays in each
        for array, like in zip(arrays, each[0], strict=True)
    ):
        return None
    return [np.concatenate(arrays) for arrays in zip(*each, strict=True)]
