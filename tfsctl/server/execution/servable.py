"""One loaded version of a model: what can be asked of it, and who is still asking."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Sequence
from concurrent.futures import Executor
from typing import TypeVar

from tfsctl.server.batching.session import Batching
from tfsctl.server.execution.executor import Execution
from tfsctl.server.execution.jobs import check_rows
from tfsctl.server.runtime.session import Arrays, BoundSignature, Endpoint, Feeds, Session

_T = TypeVar("_T")


class Servable:
    """A version that can answer. Counts what is running on it, so that it leaves only when its last request is done.

    `row_independent` are the signatures whose rows do not affect each other: their runs may be merged.
    """

    def __init__(
        self,
        name: str,
        version: int,
        session: Session,
        row_independent: Collection[str],
        execution: Execution | Batching,
    ) -> None:
        self.name = name
        self.version = version
        self.session = session
        self._row_independent = frozenset(row_independent)
        self._in_flight = 0
        self._drained: asyncio.Event | None = None
        self._execution = execution

    def signature(self, name: str) -> BoundSignature | None:
        """The signature of that name, or None."""
        return self.session.signature(name)

    async def run(
        self, feeds: Feeds, fetches: Sequence[Endpoint], *, deadline_s: float | None, signature: str = ""
    ) -> Arrays:
        """Run the graph and return the fetched arrays, in order.

        `deadline_s` is a time.monotonic() moment; past it, DEADLINE_EXCEEDED. `signature` names the one whose inputs
        and outputs these are, if they are of one.
        """
        merge_key = fetches if signature in self._row_independent else None
        return await self._counted(self._execution.submit(feeds, fetches, deadline_s=deadline_s, merge_key=merge_key))

    async def _counted(self, answer: Awaitable[_T]) -> _T:
        """Wait for an answer. The session is not freed before it is there."""
        self._in_flight += 1
        try:
            return await answer
        finally:
            self._in_flight -= 1
            if self._drained is not None and not self._in_flight:
                self._drained.set()

    def most_together(self, bound: BoundSignature, signature: str, rows: int) -> int:
        """How many requests of so many rows, with all inputs and outputs of a signature, `run_together` may be given.

        1 where it may not.
        """
        return self._execution.most_together(bound, rows, may_merge=signature in self._row_independent)

    async def run_together(
        self, stack: Feeds, fetches: Sequence[Endpoint], *, deadline_s: float | None, signature: str
    ) -> Arrays:
        """Run several requests, whose tensors are stacked: an array for each feed, and for each fetch.

        Raises where one of the requests fails.
        """
        if signature not in self._row_independent:
            return await self._counted(self._execution.submit(stack, fetches, deadline_s=deadline_s, is_stack=True))
        requests, rows = stack[0][1].shape[:2]
        feeds = [(endpoint, array.reshape(requests * rows, *array.shape[2:])) for endpoint, array in stack]
        arrays = await self.run(feeds, fetches, deadline_s=deadline_s, signature=signature)
        check_rows(arrays, requests * rows)
        return [array.reshape(requests, rows, *array.shape[1:]) for array in arrays]

    def run_now(self, feeds: Feeds, fetches: Sequence[Endpoint]) -> Arrays:
        """Run the graph on this thread, whatever else waits, and return the fetched arrays, in order."""
        return self._execution.run_now(feeds, fetches)

    async def drain_and_close(self, executor: Executor | None = None) -> None:
        """Wait for the last request, then free the session on a thread of the executor."""
        self._drained = asyncio.Event()
        if self._in_flight:
            await self._drained.wait()
        await asyncio.get_running_loop().run_in_executor(executor, self.close)

    def close(self) -> None:
        """Free the session. Nothing may be asked of it any more."""
        self._execution.close()
        self.session.close()
