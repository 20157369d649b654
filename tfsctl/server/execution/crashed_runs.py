"""Counts the runs of one version that crashed in TensorFlow, and refuses signatures whose runs crash again and again."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from tfsctl.server.monitoring.recorder import Recorder
from tfsctl.server.runtime.session import Endpoint, Session
from tfsctl.server.status import Code, ServingError

log = logging.getLogger(__name__)

MAX_CRASHES = 3
"""Of one signature. Each keeps a thread and the memory of its run; one may be due to a rare request, three are not.

After a division by zero it is one. That interrupts code at any place: where MaxPool3D divides, oneDNN's cache of
primitives is locked, and the next run like it would wait for ever.
"""


class CrashedRuns:
    """The crashes of one version. A signature is known by its inputs. Lives on the event loop."""

    def __init__(self, model: str, version: int, session: Session, recorder: Recorder) -> None:
        self._model, self._version, self._session, self._recorder = model, version, session, recorder
        self._counts: Counter[tuple[Endpoint, ...]] = Counter()
        self.refused: set[tuple[Endpoint, ...]] = set()
        """The inputs of signatures that are not run any more."""

    def add(self, feeds: Sequence[Endpoint], signal_name: str) -> None:
        """Record a crash of a run with these inputs."""
        self._counts[tuple(feeds)] += 1
        is_last = signal_name == "SIGFPE" or self._counts[tuple(feeds)] >= MAX_CRASHES
        if is_last:
            self.refused.add(tuple(feeds))
        self._recorder.run_crashed(self._model)
        log.error(
            "A run of %s crashed in TensorFlow (%s). The server continues without the thread and the memory of the run.%s",
            self._describe(feeds),
            signal_name,
            " From now on, requests for this signature are refused." if is_last else "",
        )

    def error(self, feeds: Sequence[Endpoint], signal_name: str) -> ServingError:
        """The answer to a request whose run crashed."""
        message = f"The run of this request crashed in TensorFlow ({signal_name}): {self._describe(feeds)}"
        return ServingError(Code.INTERNAL, message)

    def check(self, feeds: Sequence[Endpoint]) -> None:
        """Raise UNAVAILABLE if runs with these inputs are refused: another server may still answer."""
        if self.refused and tuple(feeds) in self.refused:
            raise self.refusal(feeds)

    def refusal(self, feeds: Sequence[Endpoint]) -> ServingError:
        """The answer to a request that is refused."""
        return ServingError(
            Code.UNAVAILABLE,
            f"Refused, because earlier runs crashed in TensorFlow: {self._describe(feeds)}, until it is loaded again",
        )

    def _describe(self, feeds: Sequence[Endpoint]) -> str:
        names = [name for name, bound in self._session.bound.items() if set(feeds) <= set(bound.inputs.values())]
        signature = f'signature "{names[0]}" of ' if len(names) == 1 else ""
        return f"{signature}model {self._model}, version {self._version}"
