"""The lanes of one session, by what runs feed and fetch; made ready in the background once requests wait for them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tfsctl.server.jobs import Outcome, Waiting
from tfsctl.server.lane_graph import NoLanesError
from tfsctl.server.lanes import WIDTHS, Lanes
from tfsctl.server.pace import Pace
from tfsctl.server.session import Endpoint, Feeds, Session
from tfsctl.server.status import ServingError

log = logging.getLogger(__name__)

_MANY_KINDS = 8  # clients may fetch outputs in ever new combinations


class SideBySide:
    """Runs quick requests side by side, on one event loop; lanes are made in a thread.

    That one gives way to nobody: it takes half a second, and while others keep the processors busy would take many.
    """

    def __init__(self, session: Session, name: str) -> None:
        self._session = session
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"lanes-{name}")
        self._lanes: dict[object, Lanes] = {}
        self._tried: set[object] = set()
        self._is_closed = False

    def is_ready(self, kind: object) -> bool:
        """Whether runs of this kind may go side by side."""
        return kind in self._lanes

    def run(self, together: Sequence[Waiting], pace: Pace) -> list[Outcome]:
        """Run requests of one kind, on this thread. Raises if one of them fails."""
        lanes, requests = self._lanes[together[0].kind], [one.feeds for one in together]
        arrays = pace.run_inline(partial(lanes.run, requests), len(requests))
        return list(zip(together, arrays, strict=True))

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
