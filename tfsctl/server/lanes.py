"""Several requests in one run of the graph, side by side: each in a call of its own, so that no row sees another's.

A quick model's run costs more around its operations than in them. A signature of TensorFlow 2 is one call of a function
(a StatefulPartitionedCall) on the signature's placeholders and the model's resources, so the graph can have more such
calls, the lanes, each with inputs of its own; a run of many lanes pays once for what a run costs by itself. Where all
tensors are of one shape they are handed over, and taken, as one for all lanes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfsctl.server.lane_graph import Call, NoLanesError
from tfsctl.server.session import Arrays, Endpoint, Feeds, Session
from tfsctl.server.status import ServingError

WIDTHS = (2, 4, 8, 16)  # each is a graph of its own to TensorFlow, which takes tens of milliseconds to make ready
_PREFIX = "tfsctl_lanes_"
_LARGE_GRAPH_BYTES = 32 * 1024 * 1024  # adding to a graph copies it


class Lanes:
    """Lanes for runs with the same feeds and fetches.

    Raises NoLanesError where the graph cannot have any: its outputs are not those of one call, or a second run, which
    takes place where one of several requests fails, might not be the same as the first.
    """

    def __init__(self, session: Session, feeds: Sequence[Endpoint], fetches: Sequence[Endpoint]) -> None:
        if session.graph_bytes > _LARGE_GRAPH_BYTES:
            raise NoLanesError
        call, name = Call(session.graph, feeds, fetches), f"{_PREFIX}{id(self)}"
        self._session, self._fetches = session, tuple(fetches)
        self._lanes = [call.repeated(f"{name}/{lane}") for lane in range(WIDTHS[-1])]
        self._packed = {width: call.packed(f"{name}/packed_{width}", width) for width in WIDTHS}
        self._ready: tuple[int, ...] = ()  # widths, the widest first
        self._may_pack = True

    def make_ready(self, width: int, feeds: Feeds) -> None:
        """Let TensorFlow prepare itself for runs of so many lanes, by making some. Raises as the run does."""
        requests = [feeds] * width
        self._run_separate(requests)
        self._run(requests)
        self._ready = (width, *self._ready)

    def run(self, requests: Sequence[Feeds]) -> list[Arrays]:
        """The arrays of each request, in as few runs as can be, on this thread. Raises if one of them fails."""
        answers: list[Arrays] = []
        for width in self._ready:
            while len(requests) - len(answers) >= width:
                answers += self._run(requests[len(answers) : len(answers) + width])
        answers += [self._session.run(feeds, self._fetches, inline=True) for feeds in requests[len(answers) :]]
        return answers

    def _run(self, requests: Sequence[Feeds]) -> list[Arrays]:
        if not (self._may_pack and _are_alike(requests)):
            return self._run_separate(requests)
        try:
            return self._run_packed(requests)
        except ServingError:
            answers = self._run_separate(requests)
            self._may_pack = False  # there was nothing wrong with the requests
            return answers

    def _run_packed(self, requests: Sequence[Feeds]) -> list[Arrays]:
        """Hand over one tensor for all lanes, and take one: tensors made and read cost as much as a quick run."""
        feeds, fetches = self._packed[len(requests)]
        given = [_packed([request[index][1] for request in requests]) for index in range(len(feeds))]
        arrays = self._session.run(list(zip(feeds, given, strict=True)), fetches, inline=True)
        return [[array[lane, ...] for array in arrays] for lane in range(len(requests))]

    def _run_separate(self, requests: Sequence[Feeds]) -> list[Arrays]:
        feeds: list[tuple[Endpoint, np.ndarray]] = []
        fetches: list[Endpoint] = []
        for (lane_feeds, lane_fetches), given in zip(self._lanes, requests, strict=False):
            feeds += [(endpoint, array) for endpoint, (_, array) in zip(lane_feeds, given, strict=True)]
            fetches += lane_fetches
        arrays = self._session.run(feeds, fetches, inline=True)
        size = len(self._fetches)
        return [arrays[start : start + size] for start in range(0, len(arrays), size)]


def _are_alike(requests: Sequence[Feeds]) -> bool:
    """Whether the tensors of all requests have the same shapes and dtypes."""
    first, *others = requests
    return all(
        array.shape == like.shape and array.dtype == like.dtype
        for feeds in others
        for (_, array), (_, like) in zip(feeds, first, strict=True)
    )


def _packed(arrays: Sequence[np.ndarray]) -> np.ndarray:
    shape = arrays[0].shape
    return np.concatenate(arrays).reshape(len(arrays), *shape) if shape else np.stack(arrays)
