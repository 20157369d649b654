"""Classify and regress over REST: reads the examples of a body, runs their signature, and writes the answer.

Small bodies are read when they arrive and queued without a task. The results of those that end up in one batch are read
from the outputs together. A task answers every other body, and those whose request fails before its run.
"""

from __future__ import annotations

import time
from contextlib import suppress

from tfsctl.core import protos
from tfsctl.core.types import ModelRef
from tfsctl.server.execution.servable import Servable
from tfsctl.server.http.exchange import Exchange
from tfsctl.server.request_context import max_step_bytes
from tfsctl.server.rest.json import document as json_document
from tfsctl.server.rest.json import example as json_example
from tfsctl.server.rest.json import pieces as json_pieces
from tfsctl.server.rest.json import results as json_results
from tfsctl.server.rest.json import tensor as json_tensor
from tfsctl.server.rest.json.decoded_size import check_decoded_size
from tfsctl.server.rest.json.spans import UnusualError
from tfsctl.server.rest.predict import LARGE_BODY_BYTES, Finish
from tfsctl.server.service.model_service import Service
from tfsctl.server.signatures.examples import CLASSIFY_METHOD, REGRESS_METHOD, BoundTask
from tfsctl.server.signatures.examples_codec import MAX_EXAMPLES, Write
from tfsctl.server.signatures.serialized_input import SerializedInput, few_examples
from tfsctl.server.worker_threads import HUGE_BYTES, WorkerThreads

_SMALL_BODY_BYTES = 2048  # a larger one is read in a thread
_MANY_RESULTS = 512  # of examples; more are written in a thread
_METHODS = {"classify": CLASSIFY_METHOD, "regress": REGRESS_METHOD}


class RestExamples:
    """Answers classify and regress bodies from a Service. `threads` do the work that would hold the event loop."""

    def __init__(self, service: Service, threads: WorkerThreads, *, timeout_s: float | None) -> None:
        self._service, self._threads, self._timeout_s = service, threads, timeout_s

    def begin(self, ref: ModelRef, verb: str, exchange: Exchange, finish: Finish) -> bool:
        """Begin the run of a small body, which may be run together with others.

        Returns False, with nothing done, if `answer` has to answer the body.
        """
        body = exchange.arrived_body(_SMALL_BODY_BYTES)
        if body is None:
            return False
        try:
            signature, sent = _read_examples(body, exchange.memory_limit // 2)
            examples = None if isinstance(sent, SerializedInput) else few_examples(sent, MAX_EXAMPLES)
            if examples is None:
                return False
            servable = self._service.core.servable(ref)
            task = _METHODS[verb], signature
            run = self._service.direct_examples_run(
                servable, task, examples, "REST", _result_writer, nbytes=len(body), deadline_s=self._deadline_s()
            )
        except Exception:  # noqa: BLE001 - `answer` finds the error again
            return False
        if run is None:
            return False
        run.begin(exchange, servable, lambda run, outcome: finish(run.servable, run.rows, outcome))
        return True

    async def answer(self, ref: ModelRef, verb: str, body: bytes) -> bytes:
        """The answer to one body. Raises ServingError in TensorFlow Serving's words."""
        limit = max_step_bytes()
        if len(body) > _SMALL_BODY_BYTES:
            signature, sent = await self._threads.run(len(body), _read_examples, body, limit)
        else:
            signature, sent = _read_examples(body, limit)
        task = _METHODS[verb], signature
        inferred = await self._service.infer(ref, [task], sent, deadline_s=self._deadline_s())
        (results,) = inferred.results
        if len(results) <= _MANY_RESULTS:
            return json_results.answer(results)
        return await self._threads.run(HUGE_BYTES, json_results.answer, results)

    def _deadline_s(self) -> float | None:
        return None if self._timeout_s is None else time.monotonic() + self._timeout_s


def _result_writer(_servable: Servable, _task: BoundTask) -> Write:
    return json_results.answer


def _read_examples(body: bytes, limit: int) -> tuple[str, protos.Input | SerializedInput]:
    """The signature a body asks for, and its examples. Decoding may take `limit` bytes."""
    check_decoded_size(body, limit)
    large = json_pieces.large_examples(body) if len(body) > LARGE_BODY_BYTES else None
    if large is not None:
        signature, parts = large
        with suppress(UnusualError):  # found between the examples
            return signature, SerializedInput(json_example.inputs_from_examples(parts))
    document = json_document.parse(body)
    signature, sent = json_tensor.signature_name(document), json_example.input_from_document(document)
    if len(body) <= _SMALL_BODY_BYTES:
        return signature, sent
    return signature, SerializedInput([sent])  # serialized here, in a thread
