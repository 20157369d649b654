"""Predict over REST: reads a body, runs its signature, and writes the answer.

Small plain bodies (`instances` and nothing else but a signature) that arrive in one piece are queued as they are: those
that end up in one batch are converted, run and written together, by a `RowCodec`. One that is alone is not queued if the
model is known to be quick: it is answered in the call that read it. Every other body is converted alone,
and so is one that cannot be converted together with others: the exact error of a bad body comes from there.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, Generic, TypeVar, cast

import numpy as np

from tfsctl.core import dtypes
from tfsctl.core.arrays import content_bytes
from tfsctl.core.dtypes import DType
from tfsctl.core.types import DEFAULT_SIGNATURE, Json, ModelRef
from tfsctl.server.execution.servable import DirectRun, Servable
from tfsctl.server.execution.stacked_run import Stack
from tfsctl.server.http.exchange import Exchange
from tfsctl.server.process.freeing import free_large
from tfsctl.server.request_context import charge_memory, max_step_bytes
from tfsctl.server.rest.json import answer as json_answer
from tfsctl.server.rest.json import document as json_document
from tfsctl.server.rest.json import numbers as json_numbers
from tfsctl.server.rest.json import pieces as json_pieces
from tfsctl.server.rest.json import tensor as json_tensor
from tfsctl.server.rest.json.bulk_values import narrow
from tfsctl.server.rest.json.decoded_size import check_decoded_size
from tfsctl.server.rest.json.tensor import PredictInputs
from tfsctl.server.runtime.session import Arrays, BoundSignature, Endpoint, Session
from tfsctl.server.service.model_service import Service
from tfsctl.server.status import ServingError
from tfsctl.server.worker_threads import WorkerThreads

LARGE_BODY_BYTES, _LARGE_ANSWER_VALUES = 64 * 1024, 4096  # from here on reading or writing takes milliseconds
_SMALL_BODY_BYTES = 4 * 1024  # of a body that may be converted together with others, on the event loop
_WALKED_BYTES = 512  # of a body whose values are read one by one on the event loop, in less than a millisecond
_VALUE_TEXT_BYTES = 8
_NUMBER_ROW = "a row of numbers"  # the key of a servable's NumberRowCodec, for requests without a signature name
_Rows = tuple[list[Any], bytes]  # of a body, and the body
_Payload = TypeVar("_Payload")
Finish = Callable[[Servable, int, object], None]
"""Sends the outcome of a request without a task: the servable, the number of rows, and the answer's body or an error."""


class _RowCodec(ABC, Generic[_Payload]):
    """What the codecs of bodies in row form share: how they run one body, and how they write answers."""

    def __init__(self, servable: Servable, bound: BoundSignature, rows: int, threads: WorkerThreads) -> None:
        self.feeds: Sequence[Endpoint] = tuple(bound.inputs.values())
        self.fetches: Sequence[Endpoint] = bound.fetches
        self.timing_key: Hashable = (*bound.fetches, rows)
        self._bound, self._rows, self._threads = bound, rows, threads
        self._aliases = [endpoint.alias for endpoint in bound.fetches]
        self._has_float_outputs = servable.session.are_floats(bound.fetches)

    @abstractmethod
    def decode(self, payloads: Sequence[_Payload]) -> Arrays | None:
        """One array for each input, [requests, rows, …]; None if the payloads cannot be stacked."""

    def answer_alone(self, session: Session, payload: _Payload) -> Arrays | None:
        """Run one request in this thread, and return its outputs; None if it cannot be decoded."""
        arrays = self.decode([payload])
        if arrays is None:
            return None
        feeds = [(endpoint, array[0]) for endpoint, array in zip(self.feeds, arrays, strict=True)]
        return session.run(feeds, self.fetches, inline=True)

    def _run_values(self, session: Session, dtype: DType, shape: tuple[int, ...], values: bytes) -> Arrays:
        """Run one request with one input, whose memory or only string is `values`. Only for float outputs."""
        outputs = session.run_values(self.feeds[0], dtype.number, shape, values, self.fetches)
        return [np.ndarray(shape, np.float32, memory) for shape, memory in outputs]

    def encode_alone(self, outputs: Arrays) -> bytes | Exception | None:
        """The body of the answer to one request, or an error; None if a thread has to write it."""
        stacked = {alias: array[None] for alias, array in zip(self._aliases, outputs, strict=True)}
        if not _are_small(stacked):
            return None
        try:
            return json_answer.row_answers(stacked, 1)[0]
        except Exception as error:  # noqa: BLE001 - the error is the answer to this request
            return error

    def encode(self, outputs: Stack) -> Sequence[Any] | asyncio.Future[Sequence[Any]]:
        """The body of each answer. Large outputs are written in a thread."""
        arrays = outputs.arrays
        if arrays is None:
            return [self._encode_one(dict(zip(self._aliases, one, strict=True))) for one in outputs.each]
        stacked = dict(zip(self._aliases, arrays, strict=True))
        if _are_small(stacked):
            return json_answer.row_answers(stacked, outputs.count)
        return self._threads.run(_text_bytes(stacked), json_answer.row_answers, stacked, outputs.count)

    @staticmethod
    def _encode_one(outputs: Mapping[str, np.ndarray]) -> bytes | ServingError:
        try:
            return json_answer.answer(outputs, row_form=True)
        except ServingError as error:
            return error


class RowCodec(_RowCodec[_Rows]):
    """Converts the rows of many requests with the same signature and number of rows at once."""

    def __init__(self, servable: Servable, bound: BoundSignature, rows: int, threads: WorkerThreads) -> None:
        super().__init__(servable, bound, rows, threads)
        self._has_numbers = any(dtype is not dtypes.STRING for dtype in bound.dtypes.values())
        is_text = rows == len(bound.dtypes) == 1 and not self._has_numbers and set(bound.ranks.values()) <= {1}
        self._takes_one_text = is_text and self._has_float_outputs

    def decode(self, payloads: Sequence[_Rows]) -> Arrays | None:
        """One array for each input, [requests, rows, …]; None if the rows are not well-formed or not all alike."""
        rows = payloads[0][0] if len(payloads) == 1 else list(chain.from_iterable([rows for rows, _ in payloads]))
        has_literals = self._has_numbers and any(json_tensor.may_have_literals(body) for _, body in payloads)
        inputs = json_tensor.rows_at_once(rows, self._bound.dtypes, has_literals=has_literals)
        if inputs is None:
            return None
        if any(inputs[alias].ndim != rank for alias, rank in self._bound.ranks.items()):
            return None  # converted alone, it is refused
        arrays = [inputs[alias] for alias in self._bound.inputs]
        return [array.reshape(len(payloads), self._rows, *array.shape[1:]) for array in arrays]

    def answer_alone(self, session: Session, payload: _Rows) -> Arrays | None:
        """Run one request in this thread, without an input array if it is one text; None if it cannot be decoded."""
        row = payload[0][0]
        if self._takes_one_text and isinstance(row, str):
            return self._run_values(session, dtypes.STRING, (1,), row.encode())
        return super().answer_alone(session, payload)


class NumberRowCodec(_RowCodec[bytes]):
    """Converts bodies with one row of numbers, for a signature with one floating input. A payload is a `number_row`."""

    def __init__(self, servable: Servable, bound: BoundSignature, threads: WorkerThreads) -> None:
        super().__init__(servable, bound, 1, threads)
        (self._dtype,) = bound.dtypes.values()

    @staticmethod
    def is_for(bound: BoundSignature) -> bool:
        """Whether bodies for this signature may be converted this way."""
        if len(bound.inputs) != 1 or len(bound.dtypes) != 1:
            return False
        ((alias, dtype),) = bound.dtypes.items()
        return dtype.is_floating and dtype.has_json_form and bound.ranks.get(alias, 2) == 2

    def decode(self, payloads: Sequence[bytes]) -> Arrays | None:
        """The input of all requests, [requests, 1, numbers]; None if they have different numbers of them."""
        if len(set(map(len, payloads))) != 1:
            return None
        numbers = np.frombuffer(payloads[0] if len(payloads) == 1 else b"".join(payloads), np.float64)
        return [narrow(numbers.reshape(len(payloads), 1, -1), self._dtype)]

    def answer_alone(self, session: Session, payload: bytes) -> Arrays | None:
        """Run one request in this thread. For float outputs this takes 5 % less CPU time per request than `decode`."""
        if not self._has_float_outputs:
            return super().answer_alone(session, payload)
        numbers = narrow(np.frombuffer(payload, np.float64), self._dtype)
        return self._run_values(session, self._dtype, (1, numbers.size), numbers.tobytes())


class RestPredict:
    """Answers predict bodies from a Service. `threads` do the work that would hold the event loop."""

    def __init__(self, service: Service, threads: WorkerThreads, *, timeout_s: float | None) -> None:
        self._service = service
        self._threads = threads
        self._timeout_s = timeout_s

    def begin(self, ref: ModelRef, exchange: Exchange, finish: Finish) -> bool:
        """Begin the run of a small plain body, which may be converted together with others.

        The outcome for `finish` is None if `answer` has to answer the body. Returns False, with nothing done, if that is
        known now.
        """
        body = exchange.arrived_body(_SMALL_BODY_BYTES)
        if body is None:
            return False
        try:
            servable = self._service.core.servable(ref)
        except ServingError:
            return False
        codec = cast("_RowCodec[Any] | None", servable.codecs.get(_NUMBER_ROW))
        payload: object = None if codec is None else json_numbers.number_row(body)
        signature, count = DEFAULT_SIGNATURE, 1
        if payload is None:
            plain = json_document.plain_rows(body)
            if plain is None:
                return False
            signature, rows = plain
            payload, count = (rows, body), len(rows)
            codec = cast("_RowCodec[Any] | None", servable.codecs.get((signature, count)))
            codec = codec or self._new_codec(servable, signature, count)
        if codec is None:
            return False
        outputs = None
        if exchange.is_alone:
            outcome = servable.answer_at_once(codec, payload, len(body))
            if isinstance(outcome, list):
                outputs, outcome = outcome, codec.encode_alone(outcome)
            if outcome is not None:
                finish(servable, count, outcome)
                return True
        may_merge, deadline_s = servable.may_merge(signature), self._deadline_s()
        run = DirectRun.of_payload(
            payload, codec, rows=count, nbytes=len(body), may_merge=may_merge, deadline_s=deadline_s
        )
        run.begin(exchange, servable, lambda run, outcome: finish(run.servable, run.rows, outcome), outputs=outputs)
        return True

    async def answer(self, ref: ModelRef, body: bytes) -> bytes:
        """The answer to one body. Raises ServingError in TensorFlow Serving's words."""
        if len(body) > LARGE_BODY_BYTES:
            request = await self._threads.run(len(body), self._read_large, ref, body, max_step_bytes())
            charge_memory(_array_bytes(request.arrays))
            answer = await self._answer(ref, request)
            free_large(request.arrays.values())
            return answer
        document = json_document.parse_plain(body)
        signature = None if document is None else json_tensor.plain_signature(document)
        if document is None or signature is None:
            return await self._answer(ref, await self._read_alone(ref, body, document))
        plain = json_tensor.plain_inputs(document, self._service.input_dtypes(ref, signature), body)
        if plain is None:
            return await self._answer(ref, await self._read_alone(ref, body, document))
        return await self._answer(ref, PredictInputs(signature, *plain))

    def _new_codec(self, servable: Servable, signature: str, rows: int) -> RowCodec | None:
        """The cached converter of bodies with that many rows; None if each has to be converted alone."""
        if not servable.accepts_codecs:
            return None
        try:
            bound = self._service.bound_signature(servable, signature)
        except ServingError:
            return None  # converting the body alone raises in the words of the REST handler
        if not bound.inputs or bound.inputs.keys() != bound.dtypes.keys():
            return None
        codec = RowCodec(servable, bound, rows, self._threads)
        servable.add_codec((signature, rows), codec)
        if (signature, rows) == (DEFAULT_SIGNATURE, 1) and NumberRowCodec.is_for(bound):
            servable.add_codec(_NUMBER_ROW, NumberRowCodec(servable, bound, self._threads))
        return codec

    def _deadline_s(self) -> float | None:
        return None if self._timeout_s is None else time.monotonic() + self._timeout_s

    def _read_large(self, ref: ModelRef, body: bytes, limit: int) -> PredictInputs:
        """Read a large body. Decoding may take `limit` bytes."""
        plain = json_numbers.number_inputs(body, partial(self._service.input_dtypes, ref))
        if plain is not None:
            return plain
        check_decoded_size(body, limit)
        read = json_pieces.large_inputs(body, partial(self._service.input_dtypes, ref))
        if read is not None:
            return read
        return self._read(ref, body, json_document.parse(body))

    async def _read_alone(self, ref: ModelRef, body: bytes, document: dict[str, Any] | None) -> PredictInputs:
        """Read a body value by value, in a thread unless it is small. `document` is what `parse_plain` read."""
        if len(body) <= _WALKED_BYTES:
            return self._read(ref, body, document)
        return await self._threads.run(len(body), self._read, ref, body, document)

    def _read(self, ref: ModelRef, body: bytes, document: Json) -> PredictInputs:
        """Read a document value by value. None is read from the body, which is unusual."""
        if document is None:
            document = json_document.parse_unusual(body)
        signature = json_tensor.signature_name(document)
        inputs, row_form = json_tensor.inputs_from_document(document, self._service.input_dtypes(ref, signature), body)
        return PredictInputs(signature, inputs, row_form)

    async def _answer(self, ref: ModelRef, request: PredictInputs) -> bytes:
        predicted = await self._service.predict(ref, request.signature, request.arrays, deadline_s=self._deadline_s())
        outputs = predicted.outputs
        if _are_small(outputs):
            return json_answer.answer(outputs, row_form=request.row_form)
        charge_memory(_array_bytes(outputs))
        write = partial(json_answer.answer, outputs, row_form=request.row_form)
        answer = await self._threads.run(_text_bytes(outputs), write)
        free_large(outputs.values())
        return answer


def _array_bytes(arrays: Mapping[str, np.ndarray]) -> int:
    """How much memory arrays take, without the content of strings."""
    return sum(array.nbytes for array in arrays.values())


def _text_bytes(outputs: Mapping[str, np.ndarray]) -> int:
    """About how long the text of outputs is."""
    return sum(
        _VALUE_TEXT_BYTES * array.size
        + (content_bytes(array) if array.size <= _LARGE_ANSWER_VALUES and array.dtype.hasobject else 0)
        for array in outputs.values()
    )


def _are_small(outputs: Mapping[str, np.ndarray]) -> bool:
    """Whether writing them takes well under a millisecond; an empty array may still have many lists."""
    return all(0 < array.size <= _LARGE_ANSWER_VALUES and _is_short(array) for array in outputs.values())


def _is_short(array: np.ndarray) -> bool:
    return not array.dtype.hasobject or content_bytes(array) <= LARGE_BODY_BYTES
