"""One loaded version of a model: what can be asked of it, and who is still asking."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from tfsctl.core.manifest import read_row_independence
from tfsctl.server.execution import Arrays, Execution, Feeds
from tfsctl.server.session import BoundSignature, Endpoint, Session

Merging = Literal["auto", "on", "off"]


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
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.name = name
        self.version = version
        self.session = session
        self._row_independent = frozenset(row_independent)
        self._in_flight = 0
        self._drained: asyncio.Event | None = None
        self._execution = Execution(session, f"{name}-{version}", loop)

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
        self._in_flight += 1
        merge_key = (signature, *(e.alias for e in fetches)) if signature in self._row_independent else None
        try:
            return await self._execution.submit(feeds, fetches, deadline_s=deadline_s, merge_key=merge_key)
        finally:
            self._in_flight -= 1
            if self._drained is not None and not self._in_flight:
                self._drained.set()

    async def drain_and_close(self) -> None:
        """Wait for the last request, then free the session."""
        self._drained = asyncio.Event()
        if self._in_flight:
            await self._drained.wait()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._execution.close()
        self.session.close()


def load(
    name: str,
    version: int,
    directory: Path,
    *,
    tags: Sequence[str],
    config: bytes,
    merging: Merging,
    loop: asyncio.AbstractEventLoop,
) -> Servable:
    """Load one version directory, to be run from `loop`. Takes as long as the model takes; call it in a thread.

    With `merging` auto, the signatures that the export found to be row-independent may be merged.
    """
    session = Session(directory, tags=tags, config=config)
    if merging == "auto":
        mergeable = {signature for signature, independent in read_row_independence(directory).items() if independent}
    else:
        mergeable = set(session.signature_defs) if merging == "on" else set()
    return Servable(name, version, session, mergeable, loop)
