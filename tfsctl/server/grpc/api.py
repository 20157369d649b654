"""The gRPC adapter: translates the calls of PredictionService and ModelService to the service, and its results back.

Look here for what a method does with its request; `framing` has what all calls share, `predict_request_cache` and
`predict_response` the fast paths of Predict.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf.message import DecodeError

from tfsctl.core import protos, tensors
from tfsctl.core.types import ModelRef
from tfsctl.errors import InvalidInput
from tfsctl.server.grpc import framing
from tfsctl.server.grpc.framing import GrpcResponse
from tfsctl.server.grpc.predict_request_cache import CachedRequest, PredictRequestCache
from tfsctl.server.grpc.predict_response import predict_response
from tfsctl.server.grpc.tensor_expansion import charge_expansion
from tfsctl.server.lifecycle.status_message import fill_status
from tfsctl.server.monitoring.recorder import NullRecorder, Recorder
from tfsctl.server.service.model_service import Inferred, Service
from tfsctl.server.signatures import examples as signature_examples
from tfsctl.server.signatures.examples import Classes
from tfsctl.server.status import Code, ServingError, invalid_argument

if TYPE_CHECKING:
    from google.protobuf.message import Message

log = logging.getLogger(__name__)

_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"
RELOAD_PATH = _MODEL + "HandleReloadConfigRequest"
_PROFILER = "/tensorflow.ProfilerService/"  # the real server has it, and answers this if it was built without it
_SIGNATURE_DEF = "signature_def"
_DEADLINE_EXCEEDED = "Deadline Exceeded"
_SMALL_COMPRESSED_BYTES = 4096  # larger ones are decompressed in a thread; this much becomes 4 MB at most
_THREADS = 1  # a decompressed message is large: one after the other

Handler = Callable[[Any, "float | None"], "Awaitable[Message | bytes]"]
"""Answers a request message by a deadline with a response message, or with one that is already serialized."""
Methods = Mapping[str, tuple[str, Handler]]
"""By path: the name of the request's message type in `protos`, and the handler."""


class GrpcApi:
    """TensorFlow Serving's gRPC services over a Service.

    `others` are methods of other services. With `as_content`, Predict puts the values of tensors into `tensor_content`.
    With `cache_requests` off, every request is parsed from scratch.
    """

    def __init__(
        self,
        service: Service,
        *,
        as_content: bool = False,
        cache_requests: bool = True,
        recorder: Recorder | None = None,
        others: Methods = MappingProxyType({}),
    ) -> None:
        self._service = service
        self._as_content = as_content
        self._predict_requests = PredictRequestCache(is_enabled=cache_requests)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="grpc")
        self._recorder = recorder or NullRecorder()
        self._methods: dict[str, tuple[str, Handler]] = {
            **others,
            _PREDICTION + "Predict": ("PredictRequest", self._recorded("Predict", self._predict)),
            _PREDICTION + "Classify": ("ClassificationRequest", self._recorded("Classify", self._classify)),
            _PREDICTION + "Regress": ("RegressionRequest", self._recorded("Regress", self._regress)),
            _PREDICTION + "MultiInference": ("MultiInferenceRequest", self._multi_inference),
            _PREDICTION + "GetModelMetadata": ("GetModelMetadataRequest", self._metadata),
            _MODEL + "GetModelStatus": ("GetModelStatusRequest", self._status),
            RELOAD_PATH: ("ReloadConfigRequest", self._reload),
        }

    def _recorded(self, api: str, handler: Handler) -> Handler:
        """A handler whose requests are counted and timed as those of one API."""
        recorder = self._recorder

        async def recorded(request: protos.PredictRequest | CachedRequest, deadline_s: float | None) -> Message | bytes:
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
        try:
            method = self._methods.get(path)
            if method is None:
                return GrpcResponse(b"", Code.UNIMPLEMENTED, "unimplemented." if path.startswith(_PROFILER) else "")
            request_type, handler = method
            deadline_s = framing.deadline_s(headers)
            if len(body) > _SMALL_COMPRESSED_BYTES and framing.is_compressed(body):
                loop = asyncio.get_running_loop()
                raw = await loop.run_in_executor(self._threads, framing.unframe, headers, body)
            else:
                raw = framing.unframe(headers, body)
            request = self._parse(request_type, raw)
            response = await handler(request, deadline_s)
            message = response if isinstance(response, bytes) else response.SerializeToString()
        except ServingError as error:
            # A client reports these words when its own timer fires first.
            words = _DEADLINE_EXCEEDED if error.code is Code.DEADLINE_EXCEEDED else error.message
            return framing.failure(error.code, words)
        except Exception as error:  # the outermost handler of bugs: a status instead of a broken stream
            log.exception("Call failed: %s", path)
            return framing.failure(Code.INTERNAL, f"{type(error).__name__}: {error}")
        return GrpcResponse(framing.frame(message))

    def _parse(self, message_type: str, raw: bytes) -> Message | CachedRequest:
        try:
            if message_type == "PredictRequest":
                return self._predict_requests.parse(raw)
            request: Message = getattr(protos, message_type).FromString(raw)
        except DecodeError:
            raise ServingError(Code.INTERNAL, "Failed to parse the request message") from None
        return request

    async def _predict(self, request: protos.PredictRequest | CachedRequest, deadline_s: float | None) -> bytes:
        ref, signature, inputs, output_filter = self._read_predict(request)
        predicted = await self._service.predict(
            ref, signature, inputs, output_filter=output_filter, deadline_s=deadline_s
        )
        return predict_response(
            predicted.name, predicted.version, predicted.signature, predicted.outputs, as_content=self._as_content
        )

    def _read_predict(
        self, request: protos.PredictRequest | CachedRequest
    ) -> tuple[ModelRef, str, Mapping[str, np.ndarray], Sequence[str]]:
        """What a PredictRequest asks of which signature of which model, and the outputs it wants."""
        if isinstance(request, CachedRequest):
            return _model_ref(request.model_spec), request.model_spec.signature_name, request.inputs, ()
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        ref, signature = _model_ref(request.model_spec), request.model_spec.signature_name
        sent, inputs = request.inputs, {}
        charge_expansion(sent)
        for alias in sent:  # not items(), which protobuf has in Python
            try:
                inputs[alias] = tensors.from_proto(sent[alias])
            except InvalidInput:
                self._service.refuse_predict(ref, signature, sent)
                raise invalid_argument(f"tensor parsing error: {alias}") from None
        return ref, signature, inputs, request.output_filter

    async def _classify(
        self, request: protos.ClassificationRequest, deadline_s: float | None
    ) -> protos.ClassificationResponse:
        inferred = await self._infer_one(request, signature_examples.CLASSIFY_METHOD, deadline_s)
        response = protos.ClassificationResponse()
        _fill_classifications(response.result, inferred.results[0])
        _fill_model_spec(response.model_spec, inferred, 0)
        return response

    async def _regress(self, request: protos.RegressionRequest, deadline_s: float | None) -> protos.RegressionResponse:
        inferred = await self._infer_one(request, signature_examples.REGRESS_METHOD, deadline_s)
        response = protos.RegressionResponse()
        _fill_regressions(response.result, inferred.results[0])
        _fill_model_spec(response.model_spec, inferred, 0)
        return response

    async def _infer_one(
        self, request: protos.ClassificationRequest | protos.RegressionRequest, method: str, deadline_s: float | None
    ) -> Inferred:
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        ref = _model_ref(request.model_spec)
        task = (method, request.model_spec.signature_name)
        return await self._service.infer(ref, [task], request.input, deadline_s=deadline_s)

    async def _multi_inference(
        self, request: protos.MultiInferenceRequest, deadline_s: float | None
    ) -> protos.MultiInferenceResponse:
        first = request.tasks[0].model_spec if request.tasks else protos.ModelSpec()
        ref = _model_ref(first)  # the version of all tasks is the first one's, as in the real server
        specs = [(t.model_spec.name, t.model_spec.signature_name, t.method_name) for t in request.tasks]
        self._service.check_tasks(ref, specs)
        tasks = [(method, signature) for _, signature, method in specs]
        inferred = await self._service.infer(ref, tasks, request.input, deadline_s=deadline_s)
        response = protos.MultiInferenceResponse()
        for index, (method, _) in enumerate(tasks):
            entry = response.results.add()
            _fill_model_spec(entry.model_spec, inferred, index)
            if method == signature_examples.CLASSIFY_METHOD:
                _fill_classifications(entry.classification_result, inferred.results[index])
            else:
                _fill_regressions(entry.regression_result, inferred.results[index])
        return response

    async def _metadata(
        self, request: protos.GetModelMetadataRequest, _deadline_s: float | None
    ) -> protos.GetModelMetadataResponse:
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise invalid_argument(f"Metadata field {field} is not supported")
        servable, definitions = self._service.signature_defs(_model_ref(request.model_spec))
        response = protos.GetModelMetadataResponse()
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        signatures = protos.SignatureDefMap()
        for key, definition in definitions.items():
            signatures.signature_def[key].CopyFrom(definition)
        response.metadata[_SIGNATURE_DEF].Pack(signatures)
        return response

    async def _status(
        self, request: protos.GetModelStatusRequest, _deadline_s: float | None
    ) -> protos.GetModelStatusResponse:
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        spec = request.model_spec
        version = spec.version.value if spec.HasField("version") else None
        response = protos.GetModelStatusResponse()
        fill_status(response, self._service.status(spec.name, version))
        return response

    async def _reload(
        self, request: protos.ReloadConfigRequest, deadline_s: float | None
    ) -> protos.ReloadConfigResponse:
        before = self._counts(request.metric_names)
        reload = asyncio.ensure_future(self._service.reload(request.config))
        timeout_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
        done, _ = await asyncio.wait([reload], timeout=timeout_s)  # it goes on after its caller's deadline
        if not done:
            raise ServingError(Code.DEADLINE_EXCEEDED, _DEADLINE_EXCEEDED)
        reload.result()
        response = protos.ReloadConfigResponse()
        response.status.SetInParent()
        for name, count in self._counts(request.metric_names).items():
            response.metric.add(name=name, int64_value_increase=count - before[name])
        return response

    def _counts(self, names: Iterable[str]) -> dict[str, int]:
        """The values of counters by their names; empty if no metrics are kept."""
        values = {name: self._recorder.counter_value(name) for name in names}
        return {name: value for name, value in values.items() if value is not None}


def _model_ref(spec: protos.ModelSpec) -> ModelRef:
    if not spec.name:
        raise invalid_argument("ModelSpec has no name specified.")
    choice = spec.WhichOneof("version_choice")
    if choice is None:
        return _latest(spec.name)
    return ModelRef(
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


_latest = lru_cache(ModelRef)


def _fill_model_spec(spec: protos.ModelSpec, inferred: Inferred, index: int) -> None:
    spec.name = inferred.name
    spec.version.value = inferred.version
    spec.signature_name = inferred.signatures[index]


def _fill_classifications(message: protos.ClassificationResult, results: Sequence[Classes]) -> None:
    for row in results:
        classes = message.classifications.add().classes
        for label, score in zip(row.labels, row.scores, strict=True):
            classes.add(label=label.decode("utf-8", "replace"), score=score)


def _fill_regressions(message: protos.RegressionResult, values: Sequence[float]) -> None:
    for value in values:
        message.regressions.add(value=value)
