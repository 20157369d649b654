"""Converts Classify or Regress requests that are run together: their examples to one tensor, its results to answers.

It is for small requests over either protocol, which differ in how the answers are written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from itertools import chain

from tfsctl.core.arrays import object_array
from tfsctl.server.execution.stacked_run import Stack
from tfsctl.server.runtime.session import Arrays, Endpoint
from tfsctl.server.signatures.examples import BoundTask, Results
from tfsctl.server.status import ServingError
from tfsctl.server.worker_threads import WorkerThreads

MAX_EXAMPLES = 64
"""Of a request that has a codec. Reading more takes longer than a task."""
_LARGE_VALUES = 2048  # of outputs: a thread writes the answers, which takes some microseconds for each

Write = Callable[[Results], bytes]
"""Writes the answer to one request from its results."""


class ExamplesCodec:
    """Converts requests for one task with the same number of examples. A payload is a request's serialized examples."""

    def __init__(self, task: BoundTask, examples: int, write: Write, threads: WorkerThreads) -> None:
        self.task = task
        self.feeds: Sequence[Endpoint] = (task.input,)
        self.fetches: Sequence[Endpoint] = tuple({end.tensor_name: end for end in task.outputs.values()}.values())
        self.timing_key: Hashable = (*self.fetches, examples)
        self._examples, self._write, self._threads = examples, write, threads
        self._names = [endpoint.tensor_name for endpoint in self.fetches]

    def decode(self, payloads: Sequence[list[bytes]]) -> Arrays:
        """The examples of all requests, [requests, examples]."""
        examples = payloads[0] if len(payloads) == 1 else list(chain.from_iterable(payloads))
        return [object_array(examples).reshape(len(payloads), self._examples)]

    def encode(self, outputs: Stack) -> Sequence[bytes | ServingError] | asyncio.Future[Sequence[bytes | ServingError]]:
        """The answer to each request, or its error. Many results are written in a thread."""
        arrays = outputs.arrays
        if arrays is None:  # they differ in shape
            size = sum([array.size for each in outputs.each for array in each])
            work = partial(self._encode_each, outputs.each)
        else:
            size = sum([array.size for array in arrays])
            work = partial(self._encode_stacked, arrays)
        return work() if size <= _LARGE_VALUES else self._threads.run(size, work)

    def _encode_each(self, each: Sequence[Arrays]) -> Sequence[bytes | ServingError]:
        return [self._encode_stacked([array[None] for array in arrays])[0] for arrays in each]

    def _encode_stacked(self, arrays: Arrays) -> Sequence[bytes | ServingError]:
        """The answers to requests whose outputs have the same shapes, and so the same errors."""
        count = len(arrays[0])
        try:
            results = self._results([array[0, ...] for array in arrays], self._examples)
            if count == 1:
                return [self._write(results)]
            examples = count * self._examples
            results = self._results([array.reshape(examples, *array.shape[2:]) for array in arrays], examples)
        except ServingError as error:
            return [error] * count
        return list(map(self._write, results.split(self._examples)))

    def _results(self, arrays: Arrays, examples: int) -> Results:
        return self.task.result(dict(zip(self._names, arrays, strict=True)), examples)
