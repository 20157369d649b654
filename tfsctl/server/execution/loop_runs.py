"""Which runs of a quick model may hold the event loop: those that are known to end within milliseconds.

Other clients wait while a run holds the event loop. That a model was quick so far does not mean that its next run is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np

from tfsctl.server.execution.pending_run import SMALL_BYTES, AloneCodec, PendingRun
from tfsctl.server.execution.stacked_run import StackedRun
from tfsctl.server.runtime.run_timing import RunTiming
from tfsctl.server.runtime.session import Endpoint, Session
from tfsctl.server.runtime.size_analysis import Sizes

_T = TypeVar("_T")

_MAX_HOLD_S = 0.008  # of CPU
_WAITED_S = 1.0  # a run that takes this long waits for memory
_MAX_CONTENT_BYTES = 32 * 1024
_MIN_CONTENT_BYTES = 2 * 1024
_RUNS_UNTIL_TRIED = 1000  # after a long run, which may have been that of TensorFlow preparing replicas
_MAX_KNOWN = 4096


class LoopRuns:
    """Learns from the runs of one model in threads which others may be on the event loop.

    - If the shapes of the inputs decide about all sizes, a run may be on the loop after one with such shapes took few
      milliseconds in a thread. Sizes between two powers of two count as equal.
    - If the contents of strings (or of other inputs) decide about sizes, their bytes are limited as well, for a while
      to fewer after a run that took longer.
    - If a value of the request may ask for any size, or after a run has crashed, no run is on the loop.
    """

    def __init__(self) -> None:
        self._known: set[Hashable] = set()
        self._banned: set[Endpoint] = set()
        self._max_content_bytes = _MAX_CONTENT_BYTES
        self._runs_since_long = 0

    def may_hold(self, sizes: Sizes, nbytes: int) -> bool:
        """Whether runs with these `sizes_of` and as many bytes may be on the loop at all."""
        return sizes is Sizes.SHAPES or (sizes is Sizes.CONTENTS and nbytes <= self._max_content_bytes)

    def is_known(self, key: Hashable) -> bool:
        """Whether runs with this key are known to take few milliseconds."""
        return key in self._known

    def add(self, key: Hashable, cpu_s: float, fetches: Sequence[Endpoint]) -> None:
        """Record the CPU seconds of a run in a thread."""
        if cpu_s > _MAX_HOLD_S or not self._banned.isdisjoint(fetches):
            self._known.discard(key)
            return
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known.add(key)

    def ban(self, fetches: Sequence[Endpoint]) -> None:
        """Keep runs with these fetches off the loop: one has crashed."""
        self._banned.update(fetches)
        self._known.clear()

    def hold(self, work: Callable[[], _T], sizes: Sizes, nbytes: int) -> _T:
        """Call `work`, which is a run on the loop. Larger ones stay off it for a while if it takes long."""
        if sizes is not Sizes.CONTENTS:
            return work()
        self._runs_since_long += 1
        if self._runs_since_long >= _RUNS_UNTIL_TRIED:
            self._runs_since_long = 0
            self._max_content_bytes = min(2 * self._max_content_bytes, _MAX_CONTENT_BYTES)
        if nbytes <= _MIN_CONTENT_BYTES:
            return work()
        start_s, start_cpu_s = time.perf_counter(), time.thread_time()
        done = work()
        if time.thread_time() - start_cpu_s > _MAX_HOLD_S or time.perf_counter() - start_s > _WAITED_S:
            self._max_content_bytes, self._runs_since_long = max(_MIN_CONTENT_BYTES, nbytes // 2), 0
        return done

    def answer_known(
        self, codec: AloneCodec, payload: object, nbytes: int, session: Session, timing: RunTiming
    ) -> object:
        """The answer of `codec.answer_alone`, or its exception. None if this run may not be on the loop."""
        if not timing.is_quick or nbytes >= SMALL_BYTES or (codec.timing_key, nbytes.bit_length()) not in self._known:
            return None
        sizes = sizes_of(codec.fetches)
        if not self.may_hold(sizes, nbytes):
            return None
        work = partial(codec.answer_alone, session, payload)
        try:
            return self.hold(partial(timing.run_inline, work), sizes, nbytes)
        except Exception as error:  # noqa: BLE001 - the error is the answer to this request
            return error


def key_of_arrays(fetches: Sequence[Endpoint], arrays: Sequence[np.ndarray], nbytes: int) -> Hashable:
    """Equal for runs of one request that take about the same time."""
    return (*fetches, nbytes.bit_length(), *[rounded(array.shape) for array in arrays])


def key_of_request(run: PendingRun) -> Hashable:
    """Equal for requests whose runs alone take about the same time."""
    if run.codec is not None:
        return run.codec.timing_key, run.nbytes.bit_length()
    if run.merge_key is not None:  # it has the shape of a row, so `nbytes` tells how many rows there are
        return run.merge_key, run.nbytes.bit_length()
    return key_of_arrays(run.fetches, run.payload, run.nbytes)


def key_of_stack(merge_key: Hashable, run: StackedRun, nbytes: int) -> Hashable:
    """Equal for runs of several requests that take about the same time. `merge_key` is that of each request."""
    inputs = run.inputs
    if inputs.has_arrays:
        return key_of_arrays(run.fetches, inputs.arrays or (), nbytes)
    if merge_key is not None:
        return merge_key, nbytes.bit_length(), inputs.count.bit_length()
    shapes = {tuple([rounded(array.shape) for array in arrays]) for arrays in inputs.each}
    return (*run.fetches, nbytes.bit_length(), inputs.count.bit_length(), frozenset(shapes))


def rounded(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Equal for shapes whose sizes are between the same powers of two."""
    return tuple([size.bit_length() for size in shape])


def sizes_of(fetches: Sequence[Endpoint]) -> Sizes:
    """What the sizes in a run with these fetches depend on."""
    if len(fetches) == 1:  # as below, in half of the time
        return fetches[0].sizes
    return max([fetch.sizes for fetch in fetches], default=Sizes.VALUES)
