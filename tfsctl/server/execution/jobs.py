"""What waits to be run, and how it is put together: runs that may be merged, runs that may go side by side, and others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tfsctl.server.runtime.session import Arrays, Endpoint, Feeds
from tfsctl.server.status import Code, ServingError

MAX_MERGED_ROWS = 1024
_SMALL_BYTES, SMALL_ROWS = 256 * 1024, 128  # a larger run is no measure for the others


class Waiting:
    """One request's run, not yet done. `key` is equal for runs that may be merged, None for one that may not.

    `rows` are those of its first input: what this run adds to a merged one. A stack stands for several requests, whose
    tensors are of one shape: an array for each feed has one more dimension then, and so have the arrays of its answer.
    """

    __slots__ = ("answer", "deadline_s", "feeds", "fetches", "is_stack", "key", "parts", "rows")

    def __init__(
        self,
        feeds: Feeds,
        fetches: Sequence[Endpoint],
        deadline_s: float | None,
        answer: asyncio.Future[Arrays],
        merge_key: object = None,
        *,
        is_stack: bool = False,
    ) -> None:
        self.feeds, self.fetches, self.deadline_s, self.answer = feeds, fetches, deadline_s, answer
        self.is_stack = is_stack
        self.parts = len(feeds[0][1]) if is_stack else 1
        shape = feeds[0][1].shape if feeds else ()
        self.rows = shape[0] if shape else 1
        self.key = None if merge_key is None or not shape else _merge_key(merge_key, feeds, self.rows)

    @property
    def kind(self) -> object:
        """What it feeds and fetches: equal for runs that may go side by side."""
        return (*(endpoint for endpoint, _ in self.feeds), *self.fetches)

    def each(self) -> list[Feeds]:
        """The feeds of each request."""
        if not self.is_stack:
            return [self.feeds]
        return [[(endpoint, array[part, ...]) for endpoint, array in self.feeds] for part in range(self.parts)]

    def put_together(self, answers: Sequence[Arrays]) -> Arrays | BaseException:
        """One answer, of the answers to each request."""
        if not self.is_stack:
            return answers[0]
        try:
            return joined([[array[None] for array in arrays] for arrays in answers])
        except ServingError as error:
            return error

    def is_over(self) -> bool:
        """Whether nobody needs the answer any more: it was given up, or is too late, which is said then."""
        if self.deadline_s is not None and time.monotonic() > self.deadline_s and not self.answer.done():
            self.answer.set_exception(too_late())
        return self.answer.done()


How = Literal["alone", "merged", "beside"]
Outcome = tuple[Waiting, "Arrays | BaseException"]


@dataclass(slots=True)
class Job:
    """Requests to be run at once: one alone, or several merged or side by side. `size` is in rows, or in requests."""

    how: How
    waiting: list[Waiting]
    size: int = 0

    @property
    def timeout_ms(self) -> int:
        """How long the run may take: until the last deadline of those who wait for it; 0 for ever."""
        if any(waiting.deadline_s is None for waiting in self.waiting):
            return 0
        last = max(waiting.deadline_s or 0.0 for waiting in self.waiting)
        return max(1, int((last - time.monotonic()) * 1000))

    def merged_feeds(self) -> Feeds:
        """The rows of all requests, one after the other."""
        return [
            (endpoint, np.concatenate([waiting.feeds[index][1] for waiting in self.waiting]))
            for index, (endpoint, _) in enumerate(self.waiting[0].feeds)
        ]

    def taken_apart(self, arrays: Arrays) -> list[Outcome]:
        """The rows of each request again. Raises INTERNAL where the outputs do not have as many as the inputs."""
        check_rows(arrays, sum(waiting.rows for waiting in self.waiting))
        outcomes: list[Outcome] = []
        start = 0
        for waiting in self.waiting:
            end = start + waiting.rows
            outcomes.append((waiting, [array[start:end] for array in arrays]))
            start = end
        return outcomes


def joined(parts: Sequence[Arrays]) -> Arrays:
    """The stacks of several runs as one. Raises INTERNAL where they are not of one shape."""
    if len(parts) == 1:
        return parts[0]
    try:
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
    except ValueError:
        raise ServingError(Code.INTERNAL, "outputs of requests that were run together are not of one shape") from None


def check_rows(arrays: Arrays, rows: int) -> None:
    """Raise INTERNAL unless everything that a merged run fetched has so many rows."""
    if any(array.ndim == 0 or len(array) != rows for array in arrays):
        raise ServingError(Code.INTERNAL, "an output of a merged run does not have a row for each row of input")


def jobs_of(waiting: Sequence[Waiting], may_go_beside: Callable[[object], bool], most_beside: int = 1) -> list[Job]:
    """What waits, as jobs. `may_go_beside` tells it of a kind; so many go at most."""
    jobs: list[Job] = []
    open_jobs: dict[object, Job] = {}  # by key or kind
    how: How
    for one in waiting:
        if (key := one.key) is not None:
            how, size, limit = "merged", one.rows, MAX_MERGED_ROWS
        elif may_go_beside(key := one.kind):
            how, size, limit = "beside", one.parts, most_beside
        else:
            jobs.append(Job("alone", [one]))
            continue
        job = open_jobs.get(key)
        if job is None or job.size + size > limit:
            job = open_jobs[key] = Job(how, [])
            jobs.append(job)
        job.waiting.append(one)
        job.size += size
    return jobs


def are_small(waiting: Sequence[Waiting]) -> bool:
    """Whether runs are small enough to tell, or to keep, the model's timing."""
    size = rows = 0
    for one in waiting:
        rows += one.rows
        for _, array in one.feeds:
            size += array.nbytes
    return size < _SMALL_BYTES and rows <= SMALL_ROWS


def too_late() -> ServingError:
    """What is said to a request whose deadline has passed."""
    return ServingError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")


def _merge_key(merge_key: object, feeds: Feeds, rows: int) -> object:
    """What must be equal for two runs to be merged; None if this one cannot be."""
    if not rows:
        return None
    if len(feeds) == 1:
        array = feeds[0][1]
        return merge_key, array.dtype.char, array.shape[1:]
    if any(array.shape[:1] != (rows,) for _, array in feeds):
        return None
    return (merge_key, *((array.dtype.char, array.shape[1:]) for _, array in feeds))
