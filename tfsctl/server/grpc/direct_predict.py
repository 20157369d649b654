"""Answers small Predict calls without a task: from the last byte of a request to its run, and from the run to the response.

A task and the coroutines in it take a fifth of the CPU time of such a call. Calls that may have to wait for anything but
their run (a large message, one that is compressed or logged) and calls that fail before their run are left to `GrpcApi`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import Any, cast

import numpy as np
from google.protobuf.message import DecodeError

from tfsctl.core import protos, tensors
from tfsctl.core.types import DEFAULT_SIGNATURE
from tfsctl.errors import InvalidInput
from tfsctl.server.execution.pending_run import PendingRun
from tfsctl.server.execution.servable import Servable
from tfsctl.server.grpc import framing
from tfsctl.server.grpc.predict_codec import codec_for
from tfsctl.server.grpc.predict_request_cache import CachedRequest, PredictRequestCache, model_ref
from tfsctl.server.grpc.predict_response import LARGE_BYTES, predict_response, value_bytes
from tfsctl.server.http.exchange import Exchange
from tfsctl.server.monitoring.recorder import Recorder
from tfsctl.server.process.shutdown import RunningRequests
from tfsctl.server.request_log.request_logs import RequestLogs
from tfsctl.server.runtime.session import Arrays
from tfsctl.server.service.model_service import Service
from tfsctl.server.status import Code, ServingError
from tfsctl.server.worker_threads import WorkerThreads

_SMALL_BYTES = 4096
_MAX_INPUTS, _MAX_PADDING_BYTES = 16, 16 * 1024  # converting more takes longer than a task
_OK_TRAILERS = framing.GrpcResponse(b"").trailers


class DirectPredict:
    """Starts calls of Predict that need no task."""

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
        self._as_content, self.recorder, self._request_logs = as_content, recorder, request_logs

    def start(self, exchange: Exchange, running: RunningRequests) -> bool:
        """Start a call whose whole request has arrived. Returns False, with nothing done, if it needs a task.

        Counts it in `running` until its response.
        """
        body = None if self._request_logs.is_on else exchange.arrived_body(_SMALL_BYTES)
        if body is None:
            return False
        try:
            call = self._call(exchange, body)
        except (DecodeError, InvalidInput, ServingError):
            return False  # the task finds the error again, and answers with it
        if call is None:
            return False
        call.begin(running)
        return True

    def _call(self, exchange: Exchange, body: bytes) -> _Call | None:
        message = framing.plain_message(body)
        if message is None:
            return None
        headers = exchange.headers
        deadline_s = framing.read_deadline(headers) if framing.TIMEOUT in headers else None
        request = self._requests.parse(message)
        service = self._service
        if not isinstance(request, CachedRequest):
            return self._call_of_message(exchange, request, deadline_s)
        servable = service.core.servable(request.model)
        kind, values = request.kind, request.values
        codec = codec_for(kind, servable, service, self._threads, as_content=self._as_content)
        if codec is not None and (codec.answers_alone or not exchange.is_alone):
            run = PendingRun(
                codec.feeds,
                codec.fetches,
                values,
                rows=1,
                nbytes=len(values),
                merge_key=codec if servable.may_merge(codec.signature) else None,
                deadline_s=deadline_s,
                client=exchange.client,
                is_alone=exchange.is_alone,
                codec=codec,
            )
            if codec.answers_alone:
                run.answer_alone = codec.answer_alone
            return _Call(self, exchange, servable, run, codec.signature)
        if codec is None and not exchange.is_alone:
            return None
        return self._call_of_arrays(exchange, servable, kind.signature, request.inputs, (), deadline_s)

    def _call_of_message(
        self, exchange: Exchange, request: protos.PredictRequest, deadline_s: float | None
    ) -> _Call | None:
        """The call of a request whose prefix is not known."""
        sent, spec = request.inputs, request.model_spec
        if not 0 < len(sent) <= _MAX_INPUTS or not spec.name:
            return None
        max_padding = _MAX_PADDING_BYTES // len(sent)
        try:
            inputs = {alias: tensors.from_proto(sent[alias], max_padding=max_padding) for alias in sent}
        except tensors.LargePaddingError:
            return None
        servable = self._service.core.servable(model_ref(spec))
        return self._call_of_arrays(exchange, servable, spec.signature_name, inputs, request.output_filter, deadline_s)

    def _call_of_arrays(
        self,
        exchange: Exchange,
        servable: Servable,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str],
        deadline_s: float | None,
    ) -> _Call | None:
        if not servable.accepts_codecs:
            return None  # its queue has tasks wait for their answers
        signature = signature or DEFAULT_SIGNATURE
        feeds, fetches = self._service.feeds_and_fetches(servable, signature, inputs, output_filter)
        run = PendingRun.of_feeds(
            feeds,
            fetches,
            may_merge=servable.may_merge(signature),
            deadline_s=deadline_s,
            client=exchange.client,
            is_alone=exchange.is_alone,
        )
        return _Call(self, exchange, servable, run, signature)

    def encode(self, call: _Call, arrays: Arrays) -> Any:  # noqa: ANN401 - bytes, or a Future of them
        """The framed response of a call without a codec; a Future of it if the outputs are large."""
        outputs = {endpoint.alias: array for endpoint, array in zip(call.run.fetches, arrays, strict=True)}
        size = sum([value_bytes(array) for array in arrays])
        servable = call.servable
        if size <= LARGE_BYTES:
            return predict_response(
                servable.name, servable.version, call.signature, outputs, as_content=self._as_content
            )
        write = partial(predict_response, servable.name, servable.version, call.signature, outputs)
        return self._threads.run(size, partial(write, as_content=self._as_content))


class _Call:
    """A call from the submission of its run to its response. It takes the outcome of the run, in place of a future."""

    __slots__ = ("_direct", "_exchange", "_is_done", "_running", "_start_s", "run", "servable", "signature")

    def __init__(
        self, direct: DirectPredict, exchange: Exchange, servable: Servable, run: PendingRun, signature: str
    ) -> None:
        self._direct, self._exchange = direct, exchange
        self.servable, self.run, self.signature = servable, run, signature
        self._is_done = False  # there is an outcome, or the client has left

    def begin(self, running: RunningRequests) -> None:
        """Submit the run. The call may have ended when this returns."""
        self._start_s = perf_counter()
        self._running = running
        running.running += 1
        self._exchange.task = self
        run = self.run
        run.answer = cast("asyncio.Future[Any]", self)  # it has the methods of a future that a run calls
        try:
            self.servable.submit(run)
        except ServingError as error:
            self._is_done = True
            self._fail(error)

    def done(self) -> bool:
        """Whether nobody waits for the outcome any more."""
        return self._is_done

    def set_result(self, result: Any, /) -> None:  # noqa: ANN401 - the framed response, or arrays
        """Send the response."""
        self._is_done = True
        self.servable.finish(self.run)
        try:
            body = result if self.run.codec is not None else self._direct.encode(self, result)
        except Exception as error:  # noqa: BLE001 - the answer is its status
            self._fail(error)
            return
        if not isinstance(body, bytes):
            self._send_in_task(body)
            return
        self._record()
        if self._exchange.reply_at_once(200, framing.RESPONSE_HEADERS, body, _OK_TRAILERS):
            self._end()
        else:
            self._send_in_task(framing.GrpcResponse(body))

    def set_exception(self, exception: BaseException, /) -> None:
        """Send the error."""
        self._is_done = True
        self.servable.finish(self.run)
        self._fail(exception)

    def cancel(self) -> None:
        """Forget the run: the client has left."""
        if not self._is_done:
            self._is_done = True
            self.servable.finish(self.run)
            self._end()

    def _fail(self, error: BaseException) -> None:
        if self._direct.recorder.is_active:
            code = error.code if isinstance(error, ServingError) else Code.INTERNAL
            self._direct.recorder.request_failed(self.servable.name, code)
        self._send_in_task(framing.error_response(error, self._exchange.target))

    def _record(self) -> None:
        recorder, name = self._direct.recorder, self.servable.name
        if recorder.is_active:
            seconds = perf_counter() - self._start_s
            recorder.inference_finished(name, "Predict", seconds)
            recorder.request_succeeded(name, "Predict", "GRPC", seconds)

    def _send_in_task(self, response: framing.GrpcResponse | asyncio.Future[bytes]) -> None:
        """Send what cannot be sent at once: an error, a large response, or one that the client does not take yet."""
        self._exchange.serve_by_task(self._send(response))
        self._forget()

    async def _send(self, response: framing.GrpcResponse | asyncio.Future[bytes]) -> None:
        exchange = self._exchange
        self._running.running += 1
        try:
            if not isinstance(response, framing.GrpcResponse):
                response = framing.GrpcResponse(await response)
                self._record()
            await exchange.reply(200, framing.RESPONSE_HEADERS, response.body, response.trailers)
        except Exception as error:  # noqa: BLE001 - the answer is its status
            failure = framing.error_response(error, exchange.target)
            await exchange.reply(200, framing.RESPONSE_HEADERS, failure.body, failure.trailers)
        finally:
            self._running.running -= 1

    def _end(self) -> None:
        self._forget()
        self._exchange.end_service()

    def _forget(self) -> None:
        self._running.running -= 1
        del self.run  # it refers to this call: no cycle for the garbage collector
