"""Answers small calls of Predict, Classify and Regress without a task.

It does what is needed between the last byte of a request and its run, and between the run and the response.

A task and the coroutines in it take a fifth of the CPU time of such a call. Calls that may have to wait for anything but
their run (a large message, one that is compressed or logged) and calls that fail before their run are left to `GrpcApi`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic, perf_counter
from typing import Any, NamedTuple, cast

import numpy as np
from google.protobuf.message import DecodeError

from tfsctl.core import protos, tensors
from tfsctl.core.types import DEFAULT_SIGNATURE
from tfsctl.errors import InvalidInput
from tfsctl.server.execution.servable import DirectRun, Servable
from tfsctl.server.grpc import framing
from tfsctl.server.grpc.examples_response import framed_result, serialized_spec
from tfsctl.server.grpc.predict_codec import codec_for
from tfsctl.server.grpc.predict_request_cache import CachedRequest, PredictRequestCache, model_ref
from tfsctl.server.grpc.predict_response import LARGE_BYTES, predict_response, value_bytes
from tfsctl.server.http.exchange import SMALL_RESPONSE_BYTES, Exchange
from tfsctl.server.monitoring.recorder import Recorder
from tfsctl.server.request_log.request_logs import RequestLogs
from tfsctl.server.runtime.session import Arrays, Endpoint
from tfsctl.server.service.model_service import Service
from tfsctl.server.signatures.examples import CLASSIFY_METHOD, REGRESS_METHOD, BoundTask
from tfsctl.server.signatures.examples_codec import MAX_EXAMPLES, Write
from tfsctl.server.signatures.serialized_input import few_examples
from tfsctl.server.status import Code, ServingError
from tfsctl.server.worker_threads import WorkerThreads

PREDICTION_SERVICE = "/tensorflow.serving.PredictionService/"
PREDICT_PATH = PREDICTION_SERVICE + "Predict"
CLASSIFY_PATH = PREDICTION_SERVICE + "Classify"
REGRESS_PATH = PREDICTION_SERVICE + "Regress"
DIRECT_PATHS = frozenset((PREDICT_PATH, CLASSIFY_PATH, REGRESS_PATH))
"""The methods whose small calls may be served without a task."""
_SMALL_BYTES = 4096
_MAX_INPUTS, _MAX_PADDING_BYTES = 16, 16 * 1024  # converting more takes longer than a task
_OK_TRAILERS = framing.GrpcResponse(b"").trailers


class _ExamplesMethod(NamedTuple):
    """Classify or Regress: its name, its request message, and the method name of its signatures."""

    api: str
    request: type[protos.ClassificationRequest | protos.RegressionRequest]
    method: str


_EXAMPLES_METHODS = {
    CLASSIFY_PATH: _ExamplesMethod("Classify", protos.ClassificationRequest, CLASSIFY_METHOD),
    REGRESS_PATH: _ExamplesMethod("Regress", protos.RegressionRequest, REGRESS_METHOD),
}


class DirectCalls:
    """Serves calls that need no task."""

    def __init__(
        self,
        service: Service,
        requests: PredictRequestCache,
        threads: WorkerThreads,
        *,
        as_content: bool,
        recorder: Recorder,
        request_logs: RequestLogs,
    ) -> None:
        self._service, self._requests, self._threads = service, requests, threads
        self._as_content, self._recorder, self._request_logs = as_content, recorder, request_logs

    def begin(self, exchange: Exchange) -> bool:
        """Serve a call whose whole request has arrived. Returns False, with nothing done, if it needs a task."""
        body = None if self._request_logs.is_on else exchange.arrived_body(_SMALL_BYTES)
        if body is None:
            return False
        try:
            message = framing.plain_message(body)
            if message is None:
                return False
            headers = exchange.headers
            deadline_s = framing.read_deadline(headers) if framing.TIMEOUT in headers else None
            if exchange.target == PREDICT_PATH:
                return self._begin_predict(exchange, message, deadline_s)
            return self._begin_examples(exchange, _EXAMPLES_METHODS[exchange.target], message, deadline_s)
        except (DecodeError, InvalidInput, ServingError):
            return False  # the task finds the error again, and answers with it

    def _begin_examples(
        self, exchange: Exchange, kind: _ExamplesMethod, message: bytes, deadline_s: float | None
    ) -> bool:
        request = kind.request.FromString(message)
        examples = few_examples(request.input, MAX_EXAMPLES)
        if examples is None:
            return False
        spec = request.model_spec
        servable = self._service.core.servable(model_ref(spec))
        signature = spec.signature_name
        run = self._service.direct_examples_run(
            servable,
            (kind.method, signature),
            examples,
            "gRPC",
            _result_writer,
            nbytes=len(message),
            deadline_s=deadline_s,
        )
        return run is not None and self._submit(exchange, servable, run, kind.api, signature)

    def _begin_predict(self, exchange: Exchange, message: bytes, deadline_s: float | None) -> bool:
        request = self._requests.parse(message)
        service = self._service
        if not isinstance(request, CachedRequest):
            return self._begin_predict_message(exchange, request, deadline_s)
        servable = service.core.servable(request.model)
        kind, values = request.kind, request.values
        codec = codec_for(kind, servable, service, self._threads, as_content=self._as_content)
        if codec is not None and (codec.answers_alone or not exchange.is_alone):
            if exchange.is_alone and (deadline_s is None or monotonic() < deadline_s):
                start_s = perf_counter()
                outcome = servable.answer_at_once(codec, values, len(values))
                if outcome is not None:
                    if isinstance(outcome, list):
                        outcome = self._encode(servable, codec.signature, codec.fetches, outcome)
                    self._respond(exchange, servable, "Predict", 1, start_s, outcome)
                    return True
            may_merge = servable.may_merge(codec.signature)
            run = DirectRun.of_payload(
                values, codec, rows=1, nbytes=len(values), may_merge=may_merge, deadline_s=deadline_s
            )
            return self._submit(exchange, servable, run, "Predict", codec.signature)
        if codec is None and not exchange.is_alone:
            return False
        return self._begin_arrays(exchange, servable, kind.signature, request.inputs, (), deadline_s)

    def _begin_predict_message(
        self, exchange: Exchange, request: protos.PredictRequest, deadline_s: float | None
    ) -> bool:
        """Serve a Predict request that the cache does not hold."""
        sent, spec = request.inputs, request.model_spec
        if not 0 < len(sent) <= _MAX_INPUTS or not spec.name:
            return False
        max_padding = _MAX_PADDING_BYTES // len(sent)
        try:
            inputs = {alias: tensors.from_proto(sent[alias], max_padding=max_padding) for alias in sent}
        except tensors.LargePaddingError:
            return False
        servable = self._service.core.servable(model_ref(spec))
        return self._begin_arrays(exchange, servable, spec.signature_name, inputs, request.output_filter, deadline_s)

    def _begin_arrays(
        self,
        exchange: Exchange,
        servable: Servable,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str],
        deadline_s: float | None,
    ) -> bool:
        if not servable.accepts_codecs:
            return False  # its queue has tasks wait for their answers
        signature = signature or DEFAULT_SIGNATURE
        feeds, fetches = self._service.feeds_and_fetches(servable, signature, inputs, output_filter)
        run = DirectRun.of_feeds(feeds, fetches, may_merge=servable.may_merge(signature), deadline_s=deadline_s)
        return self._submit(exchange, servable, run, "Predict", signature)

    def _submit(self, exchange: Exchange, servable: Servable, run: DirectRun, api: str, signature: str) -> bool:
        run.begin(exchange, servable, partial(self._finish, exchange, api, signature, perf_counter()))
        return True

    def _finish(
        self,
        exchange: Exchange,
        api: str,
        signature: str,
        start_s: float,
        run: DirectRun,
        outcome: Any,  # noqa: ANN401 - what the run's codec returns
    ) -> None:
        """Send the outcome of a run: a framed response, arrays (of Predict without a codec), or an error."""
        if run.codec is None:
            outcome = self._encode(run.servable, signature, run.fetches, outcome)
        self._respond(exchange, run.servable, api, run.rows, start_s, outcome)

    def _respond(
        self,
        exchange: Exchange,
        servable: Servable,
        api: str,
        rows: int,
        start_s: float,
        outcome: object,
    ) -> None:
        """Send a framed response (or a Future of it), or an error."""
        if isinstance(outcome, bytes) and len(outcome) <= SMALL_RESPONSE_BYTES:
            if self._recorder.is_active:
                self._record(servable.name, api, rows, start_s)
            exchange.respond(200, framing.RESPONSE_HEADERS, outcome, _OK_TRAILERS)
        elif isinstance(outcome, BaseException):
            if self._recorder.is_active:
                code = outcome.code if isinstance(outcome, ServingError) else Code.INTERNAL
                self._recorder.request_failed(servable.name, code)
            failure = framing.error_response(outcome, exchange.target)
            exchange.respond(200, framing.RESPONSE_HEADERS, failure.body, failure.trailers)
        else:
            response = cast("bytes | asyncio.Future[bytes]", outcome)
            record = partial(self._record, servable.name, api, rows, start_s)
            exchange.serve_by_task(self._send_large(exchange, response, record))

    def _encode(
        self,
        servable: Servable,
        signature: str,
        fetches: Sequence[Endpoint],
        arrays: Arrays | BaseException,
    ) -> bytes | asyncio.Future[bytes] | BaseException:
        """The framed response with these arrays; a Future of it if they are large. An error stays as it is."""
        if isinstance(arrays, BaseException):
            return arrays
        try:
            outputs = {endpoint.alias: array for endpoint, array in zip(fetches, arrays, strict=True)}
            size = sum([value_bytes(array) for array in arrays])
            write = partial(predict_response, servable.name, servable.version, signature, outputs)
            if size <= LARGE_BYTES:
                return write(as_content=self._as_content)
            return self._threads.run(size, partial(write, as_content=self._as_content))
        except Exception as error:  # noqa: BLE001 - the answer is its status
            return error

    async def _send_large(
        self, exchange: Exchange, response: bytes | asyncio.Future[bytes], record: Callable[[], None]
    ) -> None:
        """Send a response that a thread writes, or that the memory budget may refuse. `record` counts it."""
        try:
            body = response if isinstance(response, bytes) else await response
            if self._recorder.is_active:
                record()
            await exchange.reply(200, framing.RESPONSE_HEADERS, body, _OK_TRAILERS)
        except Exception as error:  # noqa: BLE001 - the answer is its status
            failure = framing.error_response(error, exchange.target)
            await exchange.reply(200, framing.RESPONSE_HEADERS, failure.body, failure.trailers)

    def _record(self, model: str, api: str, rows: int, start_s: float) -> None:
        seconds = perf_counter() - start_s
        self._recorder.inference_finished(model, api, seconds)
        if api != "Predict":
            self._recorder.examples_classified(model, rows)
        self._recorder.request_succeeded(model, api, "GRPC", seconds)


def _result_writer(servable: Servable, task: BoundTask) -> Write:
    """What writes the framed responses of a servable to Classify or Regress requests."""
    spec = protos.ModelSpec(name=servable.name, signature_name=task.signature)
    spec.version.value = servable.version
    return partial(framed_result, serialized_spec(spec))
