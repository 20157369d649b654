"""Predict over REST: a body read, run and answered by itself, or together with those that came in the same turn.

Most of what a small request costs is Python stepping from one thing to the next. So plain bodies that wait together and
ask the same model are one on their way: their rows are converted, run and written at once, and parted again as answers.
Whatever is not plain, or fails together, goes its way alone, which is where every refusal is said.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, TypeVar

import numpy as np

from tfsctl.core.types import ModelRef
from tfsctl.server import json_answer, json_document, json_numbers, json_tensor
from tfsctl.server.service import Service
from tfsctl.server.status import Code, ServingError
from tfsctl.server.turns import Turns

log = logging.getLogger(__name__)

LARGE_BODY_BYTES, _LARGE_ANSWER_VALUES = 64 * 1024, 4096  # from here on reading or writing takes milliseconds
_SMALL_BODY_BYTES = 4 * 1024  # of those that are read together: all of them in one turn of the loop
_MOST_ROWS = 128  # together
_T = TypeVar("_T")
_Answer = asyncio.Future["bytes | None"]
"""To a body that waits for others; None where it has to be asked for alone."""


@dataclass(slots=True)
class _Group:
    """Bodies with equally many rows for one signature, to be answered as one: their rows, and where the answers go."""

    signature: str
    rows: list[Any] = field(default_factory=list)
    answers: list[_Answer] = field(default_factory=list)


class RestPredict:
    """Answers predict bodies from a Service. `threads` do what would keep other requests waiting."""

    def __init__(self, service: Service, threads: ThreadPoolExecutor, *, timeout_s: float | None) -> None:
        self._service = service
        self._threads = threads
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._running = 0
        self._were_together = False  # those that waited last: so will be the next, most likely
        self._waiting: dict[ModelRef, list[tuple[bytes, _Answer]]] = {}
        self._count = 0
        self._turns = Turns(self._loop, lambda: self._count, self._begin)
        self._tasks: set[asyncio.Task[None]] = set()

    async def answer(self, ref: ModelRef, body: bytes) -> bytes:
        """The answer to one body. Raises ServingError in TensorFlow Serving's words."""
        self._running += 1
        try:
            if (self._running > 1 or self._were_together) and len(body) <= _SMALL_BODY_BYTES:
                answer = await self._with_others(ref, body)
                if answer is not None:
                    return answer
            return await self._alone(ref, body)
        finally:
            self._running -= 1

    def _deadline_s(self) -> float | None:
        return None if self._timeout_s is None else time.monotonic() + self._timeout_s

    async def _aside(self, work: Callable[..., _T], *arguments: object) -> _T:
        return await self._loop.run_in_executor(self._threads, work, *arguments)

    # ---- alone ----
    async def _alone(self, ref: ModelRef, body: bytes) -> bytes:
        is_large = len(body) > LARGE_BODY_BYTES
        signature, inputs, row_form = await self._aside(self._read, ref, body) if is_large else self._read(ref, body)
        predicted = await self._service.predict(ref, signature, inputs, deadline_s=self._deadline_s())
        outputs = predicted.outputs
        if _are_small(outputs):
            return json_answer.answer(outputs, row_form=row_form)
        return await self._aside(partial(json_answer.answer, outputs, row_form=row_form))

    def _read(self, ref: ModelRef, body: bytes) -> tuple[str, dict[str, np.ndarray], bool]:
        """The signature a body asks for, its inputs, and whether it is in row form."""
        if len(body) > LARGE_BODY_BYTES:
            plain = json_numbers.plain_inputs(body, partial(self._service.input_dtypes, ref))
            if plain is not None:
                return plain
        document = json_document.parse(body)
        signature = json_tensor.signature_name(document)
        wanted = self._service.input_dtypes(ref, signature)
        inputs, row_form = json_tensor.inputs_from_document(document, wanted, body)
        return signature, inputs, row_form

    # ---- together ----
    def _with_others(self, ref: ModelRef, body: bytes) -> _Answer:
        answer: _Answer = self._loop.create_future()
        self._waiting.setdefault(ref, []).append((body, answer))
        self._count += 1
        self._turns.come()
        return answer

    def _begin(self) -> None:
        """Begin with what waits: together what may go together, the rest alone."""
        waiting, self._waiting, self._count = self._waiting, {}, 0
        self._were_together = False
        for ref, asked in waiting.items():
            if len(asked) == 1:
                _settle(asked[0][1], None)
                continue
            for group in self._groups(ref, asked):
                if len(group.answers) == 1:
                    _settle(group.answers[0], None)
                    continue
                self._were_together = True
                task = self._loop.create_task(self._answer(ref, group))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _groups(self, ref: ModelRef, asked: Sequence[tuple[bytes, _Answer]]) -> list[_Group]:
        """The plain bodies that may go together; the others are settled to go alone."""
        most = lru_cache(maxsize=None)(partial(self._service.most_together, ref))
        groups: list[_Group] = []
        open_groups: dict[tuple[str, int], _Group] = {}
        for body, answer in asked:
            signature, rows = _plain_rows(body)
            if not rows or most(signature) == 1:
                _settle(answer, None)
                continue
            key = signature, len(rows)
            group = open_groups.get(key)
            if group is None or len(group.answers) == most(signature) or len(group.rows) + len(rows) > _MOST_ROWS:
                group = open_groups[key] = _Group(signature)
                groups.append(group)
            group.rows += rows
            group.answers.append(answer)
        return groups

    async def _answer(self, ref: ModelRef, group: _Group) -> None:
        answers: Sequence[bytes | ServingError | None] = [None] * len(group.answers)
        try:
            answers = await self._answers(ref, group)
        except ServingError as error:
            if error.code is Code.DEADLINE_EXCEEDED:
                answers = [error] * len(group.answers)
        except Exception:  # the one door for bugs: they may go well alone
            log.exception("Requests failed together")
        for waiting, answer in zip(group.answers, answers, strict=True):
            _settle(waiting, answer)

    async def _answers(self, ref: ModelRef, group: _Group) -> Sequence[bytes | None]:
        inputs = json_tensor.rows_at_once(group.rows, self._service.input_dtypes(ref, group.signature))
        if inputs is None:
            return [None] * len(group.answers)
        count, rows = len(group.answers), len(group.rows) // len(group.answers)
        stacked = {name: array.reshape(count, rows, *array.shape[1:]) for name, array in inputs.items()}
        outputs = await self._service.predict_together(ref, group.signature, stacked, deadline_s=self._deadline_s())
        if _are_small(outputs):
            return json_answer.row_answers(outputs, count)
        return await self._aside(json_answer.row_answers, outputs, count)


def _plain_rows(body: bytes) -> tuple[str, list[Any]]:
    """The signature and the rows of a body that is nothing but rows; no rows of any other."""
    try:
        document = json_document.parse(body)
        signature = json_tensor.signature_name(document)
    except ServingError:
        return "", []
    rows = document.get(json_tensor.INSTANCES)
    is_plain = isinstance(rows, list) and len(document) == 1 + (json_tensor.SIGNATURE_NAME in document)
    return signature, rows if is_plain else []


def _settle(waiting: _Answer, answer: bytes | ServingError | None) -> None:
    if waiting.done():
        return
    if isinstance(answer, ServingError):
        waiting.set_exception(answer)
    else:
        waiting.set_result(answer)


def _are_small(outputs: Mapping[str, np.ndarray]) -> bool:
    """Whether writing them takes no time to speak of; an empty one may still have many lists."""
    return all(0 < array.size <= _LARGE_ANSWER_VALUES for array in outputs.values())
