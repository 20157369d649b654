"""The tensors of several requests, and a run of several requests at once. Every `Executor` takes and returns these."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import numpy as np

from tfsctl.server.runtime.session import Arrays, Endpoint, Feeds
from tfsctl.server.status import Code, ServingError


def run_timeout_ms(deadlines_s: Iterable[float | None]) -> int:
    """How long a run may take: until the last deadline of its requests, at least 1 ms; 0 if one of them has none."""
    last_s = 0.0
    for deadline_s in deadlines_s:
        if deadline_s is None:
            return 0
        last_s = max(last_s, deadline_s)
    return max(1, int((last_s - time.monotonic()) * 1000))


class Stack:
    """Tensors of several requests: the inputs, or the outputs, of each.

    It is made from `each`, the arrays of each request, or from `arrays`, one array for each tensor with the requests
    along its first axis. Each form is converted to the other when it is first needed.
    """

    __slots__ = ("_arrays", "_each", "_is_ragged", "count")

    def __init__(self, count: int, *, each: Sequence[Arrays] | None = None, arrays: Arrays | None = None) -> None:
        self.count = count
        """The number of requests."""
        self._each, self._arrays = each, arrays
        self._is_ragged = False

    @classmethod
    def of_requests(cls, each: Sequence[Arrays]) -> Stack:
        """A stack of the arrays of each request."""
        return cls(len(each), each=each)

    @classmethod
    def of_parts(cls, parts: Sequence[Arrays]) -> Stack:
        """A stack of several stacked parts, in order. Raises INTERNAL if they differ in shape."""
        if len(parts) == 1:
            return cls(len(parts[0][0]), arrays=parts[0])
        try:
            arrays = [np.concatenate(tensors) for tensors in zip(*parts, strict=True)]
        except ValueError:
            raise ServingError(Code.INTERNAL, "outputs of requests that were run together differ in shape") from None
        return cls(len(arrays[0]), arrays=arrays)

    @property
    def has_arrays(self) -> bool:
        """Whether `arrays` can be read without copying."""
        return self._arrays is not None

    @property
    def arrays(self) -> Arrays | None:
        """One array for each tensor, with the requests along the first axis; None if shapes or dtypes differ."""
        if self._arrays is None and self._each is not None and not self._is_ragged:
            first = self._each[0]
            if len(self._each) == 1:
                self._arrays = [array[None] for array in first]
            elif any(
                array.shape != like.shape or array.dtype != like.dtype
                for other in self._each[1:]
                for array, like in zip(other, first, strict=True)
            ):
                self._is_ragged = True
            else:
                self._arrays = [
                    np.concatenate([array[None] for array in tensors]) for tensors in zip(*self._each, strict=True)
                ]
        return self._arrays

    @property
    def each(self) -> Sequence[Arrays]:
        """The arrays of each request."""
        if self._each is None:
            arrays = self._arrays or []
            self._each = [[array[index, ...] for array in arrays] for index in range(self.count)]
        return self._each


class StackedRun:
    """Requests with the same feeds and fetches that are run at once.

    `is_small` tells whether the run is small enough to measure the model by. `timeout_ms` 0 means no limit.
    """

    __slots__ = ("feeds", "fetches", "inputs", "is_small", "timeout_ms")

    def __init__(
        self,
        feeds: Sequence[Endpoint],
        fetches: Sequence[Endpoint],
        inputs: Stack,
        *,
        timeout_ms: int = 0,
        is_small: bool = True,
    ) -> None:
        self.feeds, self.fetches, self.inputs = feeds, fetches, inputs
        self.timeout_ms, self.is_small = timeout_ms, is_small

    @property
    def kind(self) -> tuple[Endpoint, ...]:
        """Equal for runs with the same feeds and fetches."""
        return (*self.feeds, *self.fetches)

    def request_feeds(self) -> list[Feeds]:
        """The feeds of each request."""
        return [list(zip(self.feeds, arrays, strict=True)) for arrays in self.inputs.each]

    def split(self) -> list[StackedRun]:
        """One run per request."""
        return [
            StackedRun(
                self.feeds,
                self.fetches,
                Stack.of_requests([arrays]),
                timeout_ms=self.timeout_ms,
                is_small=self.is_small,
            )
            for arrays in self.inputs.each
        ]
