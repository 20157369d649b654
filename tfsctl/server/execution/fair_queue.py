"""A queue that serves its clients in turn: one request of each connection, then the next request of each."""

from __future__ import annotations

from collections import deque

from tfsctl.server.execution.pending_run import PendingRun

_REMOVED_UNTIL_COMPACTED = 64


class FairQueue:
    """Requests that wait, first in, first out for each client, and round robin between clients.

    Every operation takes O(1) amortised time. A removed request keeps its place until its turn comes, or until removed
    requests outnumber the others, but keeps none of its memory.
    """

    def __init__(self) -> None:
        self._by_client: dict[object, deque[PendingRun]] = {}
        self._turns: deque[deque[PendingRun]] = deque()
        self._removed = 0
        self.length = 0
        """How many requests wait."""
        self.operations = 0
        """How many requests were moved so far: a measure of the work that the queue causes."""

    def push(self, run: PendingRun) -> None:
        """Append a request to those of its client."""
        self.operations += 1
        self.length += 1
        run.is_queued = True
        requests = self._by_client.get(run.client)
        if requests is None:
            self._by_client[run.client] = requests = deque((run,))
            self._turns.append(requests)
        else:
            requests.append(run)

    def pop(self) -> PendingRun | None:
        """Take the next request of the client whose turn it is; None if the queue is empty."""
        turns = self._turns
        while turns:
            requests = turns.popleft()
            run = requests.popleft()
            self.operations += 1
            if requests:
                turns.append(requests) if run.is_queued else turns.appendleft(requests)
            else:
                del self._by_client[run.client]
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
        for client, requests in list(self._by_client.items()):
            kept = [run for run in requests if run.is_queued]
            requests.clear()
            requests.extend(kept)
            if not kept:
                del self._by_client[client]
        self._turns = deque(requests for requests in self._turns if requests)
