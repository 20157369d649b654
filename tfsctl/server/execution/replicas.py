"""Replicas of a model's function within its graph, so that several requests share one run without sharing rows.

Most of the cost of a quick model's run is not in its operations. A signature of TensorFlow 2 is one call of a
function (a StatefulPartitionedCall) on the signature's placeholders and the model's resources. The graph can have more
such calls, the replicas, each with its own inputs; a run of several replicas pays the cost of a run once. If all tensors
have the same shape they are fed, and fetched, as one tensor for all replicas (packed).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from tfsctl.server.execution.replica_graph import NoReplicasError, SignatureCall
from tfsctl.server.execution.stacked_run import Stack
from tfsctl.server.runtime.session import Arrays, Endpoint, Feeds, Session
from tfsctl.server.status import ServingError

WIDTHS = (2, 4, 8, 12, 16)  # replicas in one run; TensorFlow needs tens of milliseconds to prepare each width
_PREFIX = "tfsctl_replicas_"
_LARGE_GRAPH_BYTES = 32 * 1024 * 1024  # adding to a graph copies it
_RUN_COST = 3  # the fixed cost of a run, in units of one call of a small model


class Replicas:
    """Replicas for runs with the same feeds and fetches.

    Raises NoReplicasError if the graph cannot have any: its outputs are not those of one call, or the function has
    effects, so that repeating a run in which one of several requests failed might give other results.
    """

    def __init__(self, session: Session, feeds: Sequence[Endpoint], fetches: Sequence[Endpoint]) -> None:
        if session.graph_bytes > _LARGE_GRAPH_BYTES:
            raise NoReplicasError
        call, name = SignatureCall(session.graph, feeds, fetches), f"{_PREFIX}{id(self)}"
        self._session, self._feeds, self._fetches = session, tuple(feeds), tuple(fetches)
        self._replicas = [call.add_call(f"{name}/replica_{index}") for index in range(WIDTHS[-1])]
        self._packed = {width: call.add_packed_calls(f"{name}/packed_{width}", width) for width in WIDTHS}
        self._ready: tuple[int, ...] = ()
        self.may_pack = True
        """Whether requests of equal shapes are known to have outputs of equal shapes."""

    def make_ready(self, width: int, feeds: Feeds) -> None:
        """Let TensorFlow prepare runs of that width by running one. Raises what the run raises."""
        self._run_replicas([feeds] * width)
        if self.may_pack:
            try:
                self._run_width([np.stack([array] * width) for _, array in feeds], width)
            except ServingError:
                self.may_pack = False
        self._ready = (*self._ready, width)

    def run(self, requests: Sequence[Feeds]) -> list[Arrays]:
        """The arrays of each request, in as few runs as pay off, on this thread. Raises if one of them fails."""
        answers: list[Arrays] = []
        for count, width in _plan(len(requests), self._ready):
            chunk = requests[len(answers) : len(answers) + count]
            answers += self._run_replicas([*chunk, *[chunk[-1]] * (width - count)])[:count]
        return answers

    def run_packed(self, stacked: Sequence[np.ndarray]) -> Arrays:
        """Like `run`, for requests whose tensors are stacked: one array for each feed, and for each fetch."""
        parts: list[Arrays] = []
        start, total = 0, len(stacked[0])
        for count, width in _plan(total, self._ready):
            parts.append(self._run_width([array[start : start + count] for array in stacked], width))
            start += count
        return parts[0] if len(parts) == 1 else Stack.of_parts(parts).arrays or []

    def _run_replicas(self, requests: Sequence[Feeds]) -> list[Arrays]:
        if len(requests) == 1:
            return [self._session.run(requests[0], self._fetches, inline=True)]
        feeds: list[tuple[Endpoint, np.ndarray]] = []
        fetches: list[Endpoint] = []
        for (replica_feeds, replica_fetches), request in zip(self._replicas, requests, strict=False):
            feeds += [(endpoint, array) for endpoint, (_, array) in zip(replica_feeds, request, strict=True)]
            fetches += replica_fetches
        arrays = self._session.run(feeds, fetches, inline=True)
        size = len(self._fetches)
        return [arrays[start : start + size] for start in range(0, len(arrays), size)]

    def _run_width(self, stacked: Sequence[np.ndarray], width: int) -> Arrays:
        """One run of packed replicas, which makes and reads one tensor instead of one for each request."""
        count = len(stacked[0])
        if width == 1:
            feeds_of_one = [(endpoint, array[0, ...]) for endpoint, array in zip(self._feeds, stacked, strict=True)]
            return [array[None] for array in self._session.run(feeds_of_one, self._fetches, inline=True)]
        feeds, fetches = self._packed[width]
        if count < width:
            stacked = [np.concatenate([array, array[-1:].repeat(width - count, axis=0)]) for array in stacked]
        arrays = self._session.run(list(zip(feeds, stacked, strict=True)), fetches, inline=True)
        return arrays if count == width else [array[:count] for array in arrays]


@lru_cache(1024)
def _plan(count: int, widths: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """The cheapest runs for `count` requests: (number of requests, width) of each. Some replicas may stay unused."""
    if not count:
        return ()
    plans = [((taken, width), *_plan(count - taken, widths)) for width in (1, *widths) for taken in [min(count, width)]]
    return min(plans, key=_cost)


def _cost(plan: Sequence[tuple[int, int]]) -> int:
    """The cost of runs; unused replicas cost as much as used ones."""
    return sum(_RUN_COST + width for _, width in plan)
