"""Predict over REST: a body read, run and answered by itself, or together with those that came in the same turn.

Plain bodies are one on their way if they ask the same of the same signature: their rows are converted, run and written
at once. Whatever is not plain, or fails together, goes its way alone, which is where every refusal is said.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from tfsctl.core.types import ModelRef
from tfsctl.server.execution.coalescer import Together
from tfsctl.server.rest.json import answer as json_answer
from tfsctl.server.rest.json import document as json_document
from tfsctl.server.rest.json import numbers as json_numbers
from tfsctl.server.rest.json import tensor as json_tensor
from tfsctl.server.service.model_service import Service

LARGE_BODY_BYTES, _LARGE_ANSWER_VALUES = 64 * 1024, 4096  # from here on reading or writing takes milliseconds
_SMALL_BODY_BYTES = 4 * 1024  # of those that are read together: all of them in one turn of the loop
_T = TypeVar("_T")
_Key = tuple[ModelRef, str, int]  # the model, its signature, and how many rows
_Inputs = tuple[str, dict[str, np.ndarray], bool]  # for which signature, and whether in row form


class RestPredict:
    """Answers predict bodies from a Service. `threads` do what would keep other requests waiting."""

    def __init__(self, service: Service, threads: ThreadPoolExecutor, *, timeout_s: float | None) -> None:
        self._service = service
        self._threads = threads
        self._timeout_s = timeout_s
        self._together: Together[_Key, list[Any], bytes] = Together(self._most, self._answer_rows)

    async def answer(self, ref: ModelRef, body: bytes) -> bytes:
        """The answer to one body. Raises ServingError in TensorFlow Serving's words."""
        self._together.running += 1
        try:
            if len(body) > LARGE_BODY_BYTES:
                return await self._answer(ref, await self._aside(self._read_large, ref, body))
            document = json_document.parse(body)
            signature = json_tensor.signature_name(document)
            if self._together.is_worth_it and len(body) <= _SMALL_BODY_BYTES:
                rows = json_tensor.plain_rows(document)
                if rows:
                    answer = await self._together.ask((ref, signature, len(rows)), rows, self._deadline_s())
                    if answer is not None:
                        return answer
            return await self._answer(ref, self._inputs(ref, signature, document, body))
        finally:
            self._together.running -= 1

    def _deadline_s(self) -> float | None:
        return None if self._timeout_s is None else time.monotonic() + self._timeout_s

    async def _aside(self, work: Callable[..., _T], *arguments: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    # ---- alone ----
    def _read_large(self, ref: ModelRef, body: bytes) -> _Inputs:
        plain = json_numbers.plain_inputs(body, partial(self._service.input_dtypes, ref))
        if plain is not None:
            return plain
        document = json_document.parse(body)
        return self._inputs(ref, json_tensor.signature_name(document), document, body)

    def _inputs(self, ref: ModelRef, signature: str, document: dict[str, Any], body: bytes) -> _Inputs:
        inputs, row_form = json_tensor.inputs_from_document(document, self._service.input_dtypes(ref, signature), body)
        return signature, inputs, row_form

    async def _answer(self, ref: ModelRef, given: _Inputs) -> bytes:
        signature, inputs, row_form = given
        predicted = await self._service.predict(ref, signature, inputs, deadline_s=self._deadline_s())
        outputs = predicted.outputs
        if _are_small(outputs):
            return json_answer.answer(outputs, row_form=row_form)
        return await self._aside(partial(json_answer.answer, outputs, row_form=row_form))

    # ---- together ----
    def _most(self, key: _Key) -> int:
        return self._service.most_together(*key)

    async def _answer_rows(
        self, key: _Key, bodies: Sequence[list[Any]], deadline_s: float | None
    ) -> Sequence[bytes | None]:
        ref, signature, size = key
        count = len(bodies)
        inputs = json_tensor.rows_at_once(list(chain.from_iterable(bodies)), self._service.input_dtypes(ref, signature))
        if inputs is None:
            return [None] * count
        stacked = {name: array.reshape(count, size, *array.shape[1:]) for name, array in inputs.items()}
        predicted = await self._service.predict_together(ref, signature, stacked, deadline_s=deadline_s)
        if _are_small(predicted.outputs):
            return json_answer.row_answers(predicted.outputs, count)
        return await self._aside(json_answer.row_answers, predicted.outputs, count)


def _are_small(outputs: Mapping[str, np.ndarray]) -> bool:
    """Whether writing them takes no time to speak of; an empty one may still have many lists."""
    return all(0 < array.size <= _LARGE_ANSWER_VALUES for array in outputs.values())
