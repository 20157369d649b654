"""The gRPC adapter: translates the calls of PredictionService and ModelService to the service, and its results back.

Look here for what a method of PredictionService does with its request; `model_calls` has the calls about the models,
`framing` what all calls share, `predict_request_cache` and `predict_response` the fast paths of Predict.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from types import MappingProxyType
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError, Message

from tfsctl.core import protos, tensors
from tfsctl.core.types import ModelRef
from tfsctl.errors import InvalidInput
from tfsctl.server.grpc import framing
from tfsctl.server.grpc.direct_calls import (
    CLASSIFY_PATH,
    PREDICT_PATH,
    PREDICTION_SERVICE,
    REGRESS_PATH,
    DirectCalls,
)
from tfsctl.server.grpc.examples_response import PIECE_RESULTS, framed_result, framed_results, serialized_spec
from tfsctl.server.grpc.framing import GrpcResponse
from tfsctl.server.grpc.large_predict_request import UnusualRequest, parse_large_request, read_large_request
from tfsctl.server.grpc.model_calls import ModelCalls
from tfsctl.server.grpc.parse_in_pieces import PIECE_BYTES, ExamplesRequest, parse_request
from tfsctl.server.grpc.predict_codec import codec_for
from tfsctl.server.grpc.predict_request_cache import CachedRequest, DecodedRequest, PredictRequestCache, model_ref
from tfsctl.server.grpc.predict_response import LARGE_BYTES, predict_response, value_bytes
from tfsctl.server.grpc.request_log_entry import LOGGED_METHODS, prediction_log
from tfsctl.server.limits import MAX_DEFLATE_RATIO, MAX_UNCOMPRESSED_BYTES
from tfsctl.server.monitoring.recorder import NullRecorder, Recorder
from tfsctl.server.process.freeing import free_large
from tfsctl.server.request_body import GRPC_PREFIX_BYTES
from tfsctl.server.request_context import (
    charge_memory,
    charge_strings,
    check_string_count,
    is_alone,
    max_step_bytes,
)
from tfsctl.server.request_log.request_log import SampledRequest
from tfsctl.server.request_log.request_logs import RequestLogs
from tfsctl.server.service.model_service import InferResult, Service
from tfsctl.server.signatures import examples as signature_examples
from tfsctl.server.status import Code, ServingError, invalid_argument
from tfsctl.server.worker_threads import WorkerThreads

_MODEL = "/tensorflow.serving.ModelService/"
RELOAD_PATH = _MODEL + "HandleReloadConfigRequest"
_LOGGED = {PREDICTION_SERVICE + method: method for method in LOGGED_METHODS}
_PROFILER = "/tensorflow.ProfilerService/"  # the real server has it, and answers this if it was built without it
_SMALL_BYTES = 4096
_SMALL_PLAIN_BYTES = 64 * 1024  # of a message that is decompressed on the event loop, in less than 0.5 ms
_MANY_INPUTS = 64
_SMALL_PADDING_BYTES = 64 * 1024
_COPIES_OF_PADDING = 3  # the input, an output of the same size, and the response
_MAX_INPUTS = 10_000  # no model has more
_VIEWED_BYTES = 32 * 1024  # of a message whose tensors become views of it: parsing a smaller one is faster

Handler = Callable[[Any, "float | None"], "Awaitable[Message | bytes]"]
"""Answers a request message by a deadline with a response message, or with one that is serialized and framed."""
Methods = Mapping[str, tuple[str, Handler]]
"""By path: the name of the request's message type in `protos`, and the handler."""
PredictRequest = protos.PredictRequest | CachedRequest | DecodedRequest | UnusualRequest
Parsed = Message | CachedRequest | DecodedRequest | UnusualRequest | ExamplesRequest
Parser = Callable[[Any], Parsed]


class GrpcApi:
    """TensorFlow Serving's gRPC services over a Service.

    `other_methods` are methods of other services. With `as_content`, Predict puts the values of tensors into `tensor_content`.
    With `cache_requests` off, every request is parsed from scratch.
    """

    def __init__(
        self,
        service: Service,
        *,
        as_content: bool = False,
        cache_requests: bool = True,
        recorder: Recorder | None = None,
        request_logs: RequestLogs | None = None,
        other_methods: Methods = MappingProxyType({}),
    ) -> None:
        self._service = service
        self._as_content = as_content
        self._predict_requests = PredictRequestCache(is_enabled=cache_requests)
        self._threads = WorkerThreads("grpc")
        self._recorder = recorder or NullRecorder()
        self._request_logs = request_logs or RequestLogs()
        self.direct_calls = DirectCalls(
            service,
            self._predict_requests,
            self._threads,
            as_content=as_content,
            recorder=self._recorder,
            request_logs=self._request_logs,
        )
        """Answers small calls of Predict, Classify and Regress without a task."""
        models = ModelCalls(service, self._recorder)
        methods: Methods = {
            **other_methods,
            CLASSIFY_PATH: (
                "ClassificationRequest",
                self._recorded("Classify", partial(self._infer_one, signature_examples.CLASSIFY_METHOD)),
            ),
            REGRESS_PATH: (
                "RegressionRequest",
                self._recorded("Regress", partial(self._infer_one, signature_examples.REGRESS_METHOD)),
            ),
            PREDICTION_SERVICE + "MultiInference": ("MultiInferenceRequest", self._multi_inference),
            PREDICTION_SERVICE + "GetModelMetadata": ("GetModelMetadataRequest", models.metadata),
            _MODEL + "GetModelStatus": ("GetModelStatusRequest", models.status),
            RELOAD_PATH: ("ReloadConfigRequest", models.reload),
        }
        self._methods: dict[str, tuple[Parser, Handler]] = {
            PREDICT_PATH: (self._predict_requests.parse, self._recorded("Predict", self._predict)),
            **{path: (partial(_parse, request), handler) for path, (request, handler) in methods.items()},
        }

    def _recorded(self, api: str, handler: Handler) -> Handler:
        """A handler whose requests are counted and timed as those of one API."""
        recorder = self._recorder

        async def recorded(request: PredictRequest, deadline_s: float | None) -> Message | bytes:
            start_s = perf_counter()
            try:
                response = await handler(request, deadline_s)
            except Exception as error:
                code = error.code if isinstance(error, ServingError) else Code.INTERNAL
                recorder.request_failed(request.model_spec.name, code)
                raise
            recorder.request_succeeded(request.model_spec.name, api, "GRPC", perf_counter() - start_s)
            return response

        return recorded if recorder.is_active else handler

    async def answer(self, path: str, headers: Mapping[bytes, bytes], body: bytes) -> GrpcResponse:
        """Answer one unary call; `path` is as the client sent it, `body` the whole framed request."""
        sampled: SampledRequest | None = None
        try:
            method = self._methods.get(path)
            if method is None:
                return GrpcResponse(b"", Code.UNIMPLEMENTED, "unimplemented." if path.startswith(_PROFILER) else "")
            parse, handler = method
            deadline_s = framing.read_deadline(headers) if framing.TIMEOUT in headers else None
            try:
                plain = framing.plain_message(body) if len(body) <= _SMALL_BYTES else None
                request = await self._parse_large(parse, headers, body) if plain is None else parse(plain)
            except DecodeError:
                raise ServingError(Code.INTERNAL, framing.BAD_MESSAGE) from None
            if self._request_logs.is_on and path in _LOGGED:
                if len(body) > LARGE_BYTES or framing.is_compressed(body):
                    raw = await self._threads.run(len(body), framing.unframe, headers, body)
                else:
                    raw = framing.unframe(headers, body)
                sampled = self._sampled(_LOGGED[path], request, raw)
            response = await handler(request, deadline_s)
            framed = response if isinstance(response, bytes) else framing.frame(response.SerializeToString())
            if sampled is not None:
                sampled.finish(Code.OK, framed[GRPC_PREFIX_BYTES:])
        except ServingError as error:
            if sampled is not None:
                sampled.finish(error.code)
            return framing.error_response(error, path)
        except Exception as error:  # noqa: BLE001 - the outermost handler of bugs
            if sampled is not None:
                sampled.finish(Code.INTERNAL)
            return framing.error_response(error, path)
        return GrpcResponse(framed)

    async def _parse_large(self, parse: Parser, headers: Mapping[bytes, bytes], body: bytes) -> Parsed:
        """Parse a request body that is large or compressed, in a thread if that would take long. Raises DecodeError."""
        framing.check_frame(body)
        if body[0]:
            return await self._parse_compressed(parse, headers, body)
        message = memoryview(body)[GRPC_PREFIX_BYTES:]
        is_predict = parse == self._predict_requests.parse
        if is_predict and len(body) > _VIEWED_BYTES:
            request = read_large_request(message, only_views=True)
            if request is not None:
                return request
        if len(body) <= (LARGE_BYTES if is_predict else PIECE_BYTES):
            return parse(bytes(message))
        return await self._parsed_in_thread(parse, message, is_predict=is_predict)

    async def _parse_compressed(self, parse: Parser, headers: Mapping[bytes, bytes], body: bytes) -> Parsed:
        """Decompress and parse a request body, in a thread unless both its forms are small. Raises DecodeError."""
        if len(body) <= _SMALL_BYTES:
            try:
                return parse(framing.unframe(headers, body, _SMALL_PLAIN_BYTES))
            except ServingError as error:
                if error.code is not Code.RESOURCE_EXHAUSTED:
                    raise
        limit = min(MAX_UNCOMPRESSED_BYTES, max_step_bytes())
        plain = await self._threads.run(len(body) * MAX_DEFLATE_RATIO, framing.unframe, headers, body, limit)
        charge_memory(len(plain))
        is_predict = parse == self._predict_requests.parse
        return await self._parsed_in_thread(parse, memoryview(plain), is_predict=is_predict)

    async def _parsed_in_thread(self, parse: Parser, message: memoryview, *, is_predict: bool) -> Parsed:
        size = len(message)
        request = await self._threads.run(size, parse_large_request if is_predict else parse, message)
        if isinstance(request, DecodedRequest):
            charge_strings(sum(array.size for array in request.inputs.values() if array.dtype.hasobject), size)
        elif isinstance(request, ExamplesRequest):
            charge_strings(request.input.count, size)
        return request

    def _sampled(self, method: str, request: Any, raw: bytes) -> SampledRequest | None:  # noqa: ANN401 - one of four
        """The entry of the request log for a call, None if it is not to be logged."""
        if method != "MultiInference":
            spec = request.model_spec
        elif request.tasks:
            spec = request.tasks[0].model_spec
        else:
            return None
        return self._request_logs.sample(
            spec.name,
            lambda: self._service.version_and_signatures(model_ref(spec)),
            prediction_log,
            api=method,
            protocol="grpc",
            body=raw,
        )

    async def _predict(self, request: PredictRequest, deadline_s: float | None) -> bytes:
        service = self._service
        output_filter: Sequence[str] = ()
        inputs: Mapping[str, np.ndarray]
        if isinstance(request, CachedRequest):
            model, signature = request.model, request.kind.signature
            servable = service.core.servable(model)
            codec = None
            if not is_alone():
                codec = codec_for(request.kind, servable, service, self._threads, as_content=self._as_content)
            if codec is not None:
                start_s = perf_counter() if self._recorder.is_active else 0.0
                values = request.values
                response: bytes = await servable.run_payload(
                    values, codec, rows=1, nbytes=len(values), deadline_s=deadline_s, signature=codec.signature
                )
                if self._recorder.is_active:
                    self._recorder.inference_finished(model.name, "Predict", perf_counter() - start_s)
                return response
            inputs = request.inputs
        else:
            if isinstance(request, DecodedRequest):
                model, inputs = model_ref(request.model_spec), request.inputs
            elif isinstance(request, UnusualRequest):
                nbytes, request = request.nbytes, request.message
                model, inputs = await self._read_predict(request, nbytes)
            else:
                model, inputs = await self._read_predict(request, request.ByteSize())
            signature, output_filter = request.model_spec.signature_name, request.output_filter
        predicted = await service.predict(model, signature, inputs, output_filter=output_filter, deadline_s=deadline_s)
        write = partial(predict_response, predicted.name, predicted.version, predicted.signature, predicted.outputs)
        size = sum([value_bytes(array) for array in predicted.outputs.values()])
        if size <= LARGE_BYTES:
            return write(as_content=self._as_content)
        framed = await self._threads.run(size, partial(write, as_content=self._as_content))
        free_large((*inputs.values(), *predicted.outputs.values()))
        return framed

    async def _read_predict(
        self, request: protos.PredictRequest, size: int
    ) -> tuple[ModelRef, Mapping[str, np.ndarray]]:
        """The model that a PredictRequest of `size` bytes names, and its inputs, made in a thread if they are large."""
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        model = model_ref(request.model_spec)
        sent = request.inputs
        if len(sent) > _MAX_INPUTS:
            raise invalid_argument(f"A request of more than {_MAX_INPUTS} inputs")
        if len(sent) > _MANY_INPUTS:
            self._service.refuse_predict(model, request.model_spec.signature_name, sent)
        try:
            if size <= LARGE_BYTES:
                try:
                    return model, _arrays(sent, _SMALL_PADDING_BYTES // max(1, len(sent)))
                except tensors.LargePaddingError:
                    pass  # a thread adds it
            strings = sum(len(sent[alias].string_val) for alias in sent)
            check_string_count(strings, size)
            charge_strings(strings, size)
            paddings = [tensors.padding_bytes(sent[alias]) for alias in sent]
            padding = sum([size for size in paddings if size <= tensors.MAX_PADDING_BYTES])  # larger ones are refused
            if padding > _SMALL_PADDING_BYTES:
                charge_memory(_COPIES_OF_PADDING * padding)
            return model, await self._threads.run(size + padding, _arrays, sent)
        except _TensorError as error:
            self._service.refuse_predict(model, request.model_spec.signature_name, sent)
            raise invalid_argument(f"tensor parsing error: {error}") from None

    async def _infer_one(
        self,
        method: str,
        request: protos.ClassificationRequest | protos.RegressionRequest | ExamplesRequest,
        deadline_s: float | None,
    ) -> bytes:
        """Answer Classify or Regress. `method` is the method name of its signatures."""
        message = request.message if isinstance(request, ExamplesRequest) else request
        if not message.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        ref = model_ref(request.model_spec)
        task = (method, request.model_spec.signature_name)
        inferred = await self._service.infer(ref, [task], request.input, deadline_s=deadline_s)
        spec = protos.ModelSpec()
        _fill_model_spec(spec, inferred, 0)
        (results,) = inferred.results
        write = partial(framed_result, serialized_spec(spec), results)
        return write() if len(results) <= PIECE_RESULTS else await self._threads.run(LARGE_BYTES, write)

    async def _multi_inference(
        self, request: protos.MultiInferenceRequest | ExamplesRequest, deadline_s: float | None
    ) -> bytes:
        first = request.tasks[0].model_spec if request.tasks else protos.ModelSpec()
        ref = model_ref(first)  # the version of all tasks is the first one's, as in the real server
        self._service.check_tasks(
            ref, ((t.model_spec.name, t.model_spec.signature_name, t.method_name) for t in request.tasks)
        )
        tasks = [(task.method_name, task.model_spec.signature_name) for task in request.tasks]
        inferred = await self._service.infer(ref, tasks, request.input, deadline_s=deadline_s)
        response = protos.MultiInferenceResponse()
        for index in range(len(tasks)):
            _fill_model_spec(response.results.add().model_spec, inferred, index)
        if sum(map(len, inferred.results)) <= PIECE_RESULTS:
            return framed_results(response, inferred.results)
        return await self._threads.run(LARGE_BYTES, framed_results, response, inferred.results)


def _parse(message_type: str, raw: bytes) -> Message | ExamplesRequest:
    return parse_request(getattr(protos, message_type)(), raw)


class _TensorError(Exception):
    """The tensor of an input is invalid. The message is the input's name."""


def _arrays(
    sent: Mapping[str, protos.TensorProto], max_padding: int = tensors.MAX_PADDING_BYTES
) -> dict[str, np.ndarray]:
    """The arrays of a request's inputs, by name. Raises _TensorError, and LargePaddingError as `from_proto` does."""
    arrays = {}
    for alias in sent:  # not items(), which protobuf has in Python
        try:
            arrays[alias] = tensors.from_proto(sent[alias], max_padding=max_padding)
        except InvalidInput:
            raise _TensorError(alias) from None
    return arrays


def _fill_model_spec(spec: protos.ModelSpec, inferred: InferResult, index: int) -> None:
    spec.name = inferred.name
    spec.version.value = inferred.version
    spec.signature_name = inferred.signatures[index]
