"""Several requests in one run of the graph, side by side: each in a call of its own, so that no row sees another's.

A quick model's run costs more around its operations than in them. A signature of TensorFlow 2 is one call of a function
(a StatefulPartitionedCall) on the signature's placeholders and the model's resources, so the graph can have more such
calls, the lanes, each with inputs of its own; a run of many lanes pays once for what a run costs by itself. Where all
tensors are of one shape they are handed over, and taken, as one for all lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from tfsctl.server.execution.jobs import joined
from tfsctl.server.execution.replica_graph import Call, NoLanesError
from tfsctl.server.runtime.session import Arrays, Endpoint, Feeds, Session
from tfsctl.server.status import ServingError

WIDTHS = (2, 4, 8, 12, 16)  # each is a graph of its own to TensorFlow, which takes tens of milliseconds to make ready
_PREFIX = "tfsctl_lanes_"
_LARGE_GRAPH_BYTES = 32 * 1024 * 1024  # adding to a graph copies it
_RUN_LANES = 3  # what a run costs by itself, in lanes of a small model


class Lanes:
    """Lanes for runs with the same feeds and fetches.

    Raises NoLanesError where the graph cannot have any: its outputs are not those of one call, or a second run, which
    takes place where one of several requests fails, might not be the same as the first.
    """

    def __init__(self, session: Session, feeds: Sequence[Endpoint], fetches: Sequence[Endpoint]) -> None:
        if session.graph_bytes > _LARGE_GRAPH_BYTES:
            raise NoLanesError
        call, name = Call(session.graph, feeds, fetches), f"{_PREFIX}{id(self)}"
        self._session, self._feeds, self._fetches = session, tuple(feeds), tuple(fetches)
        self._lanes = [call.repeated(f"{name}/lane_{lane}") for lane in range(WIDTHS[-1])]
        self._packed = {width: call.packed(f"{name}/packed_{width}", width) for width in WIDTHS}
        self._ready: tuple[int, ...] = ()
        self.may_pack = True
        """Whether the outputs of requests of one shape are of one shape too, as far as is known."""

    def make_ready(self, width: int, feeds: Feeds) -> None:
        """Let TensorFlow prepare itself for runs of so many lanes, by making some. Raises as the run does."""
        self._run_lanes([feeds] * width)
        if self.may_pack:
            try:
                self._run_packed([np.stack([array] * width) for _, array in feeds], width)
            except ServingError:
                self.may_pack = False
        self._ready = (*self._ready, width)

    def run(self, requests: Sequence[Feeds]) -> list[Arrays]:
        """The arrays of each request, in as few runs as are worth it, on this thread. Raises if one of them fails."""
        answers: list[Arrays] = []
        for count, width in _cover(len(requests), self._ready):
            chunk = requests[len(answers) : len(answers) + count]
            answers += self._run_lanes([*chunk, *[chunk[-1]] * (width - count)])[:count]
        return answers

    def run_stack(self, stack: Sequence[np.ndarray]) -> Arrays:
        """As `run`, of requests whose tensors are stacked, one array for each feed; what is fetched is stacked too."""
        parts: list[Arrays] = []
        start, total = 0, len(stack[0])
        for count, width in _cover(total, self._ready):
            parts.append(self._run_packed([array[start : start + count] for array in stack], width))
            start += count
        return joined(parts)

    def _run_lanes(self, requests: Sequence[Feeds]) -> list[Arrays]:
        if len(requests) == 1:
            return [self._session.run(requests[0], self._fetches, inline=True)]
        feeds: list[tuple[Endpoint, np.ndarray]] = []
        fetches: list[Endpoint] = []
        for (lane_feeds, lane_fetches), given in zip(self._lanes, requests, strict=False):
            feeds += [(endpoint, array) for endpoint, (_, array) in zip(lane_feeds, given, strict=True)]
            fetches += lane_fetches
        arrays = self._session.run(feeds, fetches, inline=True)
        size = len(self._fetches)
        return [arrays[start : start + size] for start in range(0, len(arrays), size)]

    def _run_packed(self, stack: Sequence[np.ndarray], width: int) -> Arrays:
        """Hand over one tensor for all lanes, and take one: tensors made and read cost as much as a quick run."""
        count = len(stack[0])
        if width == 1:
            alone = [(endpoint, array[0, ...]) for endpoint, array in zip(self._feeds, stack, strict=True)]
            return [array[None] for array in self._session.run(alone, self._fetches, inline=True)]
        feeds, fetches = self._packed[width]
        if count < width:
            stack = [np.concatenate([array, array[-1:].repeat(width - count, axis=0)]) for array in stack]
        arrays = self._session.run(list(zip(feeds, stack, strict=True)), fetches, inline=True)
        return arrays if count == width else [array[:count] for array in arrays]


@lru_cache(1024)
def _cover(count: int, widths: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """The runs for so many requests that cost the least: how many each takes, and its width. Some lanes may stay empty."""
    if not count:
        return ()
    plans = [
        ((taken, width), *_cover(count - taken, widths)) for width in (1, *widths) for taken in [min(count, width)]
    ]
    return min(plans, key=_cost)


def _cost(plan: Sequence[tuple[int, int]]) -> int:
    return sum(_RUN_LANES + width for _, width in plan)
