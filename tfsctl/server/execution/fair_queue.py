"""A queue that serves its clients in turn: one request of each connection, then the next request of each."""

from __future__ import annotations

from collections import deque

from tfsctl.server.execution.pending_run import PendingRun

_REMOVED_UNTIL_COMPACTED = 64


class FairQueue:
    """Waiting requests: first in, first out for each client, and round robin between clients.

    Every operation takes O(1) amortised time. A removed request keeps its place until its turn comes, or until removed
    requests outnumber the others, but keeps none of its memory.
    """

    def __init__(self) -> None:
        self._turns: deque[PendingRun] = deque()
        """The first request of each client that waits, in the order of their turns."""
        self._others: dict[object, deque[PendingRun] | None] = {}
        """By client that waits: its other requests, if it ever had any."""
        self._removed = 0
        self.length = 0
        """How many requests wait."""
        self.operations = 0
        """How many requests were moved so far: a measure of the work that the queue causes."""

    def ahead_of(self, client: object) -> int:
        """The largest number of requests that may run before the next one of a client."""
        others = self._others
        own = 1 + len(others[client] or ()) if client in others else 0
        return min(self.length, (own + 1) * len(others))

    def push(self, run: PendingRun) -> None:
        """Append a request to those of its client."""
        self.operations += 1
        self.length += 1
        run.is_queued = True
        client, others = run.client, self._others
        if client not in others:
            others[client] = None
            self._turns.append(run)
        elif (waiting := others[client]) is None:
            others[client] = deque((run,))
        else:
            waiting.append(run)

    def pop(self) -> PendingRun | None:
        """Take the next request of the client whose turn it is; None if the queue is empty."""
        turns = self._turns
        while turns:
            run = turns.popleft()
            self.operations += 1
            if waiting := self._others[run.client]:
                following = waiting.popleft()
                turns.append(following) if run.is_queued else turns.appendleft(following)
            else:
                del self._others[run.client]
            if run.is_queued:
                run.is_queued = False
                self.length -= 1
                return run
            self._removed -= 1
        return None

    def remove(self, run: PendingRun) -> None:
        """Forget a request that waits here."""
        run.is_queued = False
        self.length -= 1
        self._removed += 1
        if self._removed > self.length + _REMOVED_UNTIL_COMPACTED:
            self._compact()

    def _compact(self) -> None:
        self.operations += self.length + self._removed
        self._removed = 0
        turns: deque[PendingRun] = deque()
        for first in self._turns:
            kept = deque(run for run in (first, *(self._others[first.client] or ())) if run.is_queued)
            if kept:
                turns.append(kept.popleft())
                self._others[first.client] = kept or None
            else:
                del self._others[first.client]
        self._turns = turns
