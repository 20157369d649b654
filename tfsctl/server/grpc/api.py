"""The gRPC adapter: PredictionService and ModelService, translated to the service and back.

gRPC over HTTP/2 is a 5-byte frame around a message, and the status in the trailers:
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import numpy as np
from google.protobuf.message import DecodeError

from tfsctl.core import protos, tensors
from tfsctl.core.types import ModelRef
from tfsctl.errors import InvalidInput
from tfsctl.server.grpc import predict_request_cache
from tfsctl.server.grpc.predict_request_cache import LikeOneBefore
from tfsctl.server.grpc.predict_response import predict_response
from tfsctl.server.http.exchange import Pairs
from tfsctl.server.lifecycle.status_message import fill_status
from tfsctl.server.monitoring.recorder import NullRecorder, Recorder
from tfsctl.server.rest.api import MAX_UNCOMPRESSED_BYTES
from tfsctl.server.service.model_service import Inferred, Service
from tfsctl.server.signatures import examples as signature_examples
from tfsctl.server.signatures.examples import Classes
from tfsctl.server.status import Code, ServingError, invalid_argument

log = logging.getLogger(__name__)

_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"
_PROFILER = "/tensorflow.ProfilerService/"  # there in the real server, which says this of what it lacks
MAX_MESSAGE_BYTES = 2**31 - 1  # the real server's limit, and gRPC's
_MAX_MESSAGE_CHARACTERS = 1024  # the real server cuts its messages there, so that they fit a header
_TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])")
_UNIT_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_SIGNATURE_DEF = "signature_def"
_TOO_LATE = "Deadline Exceeded"


@dataclass(slots=True)
class Reply:
    """A gRPC answer: the framed message (empty unless OK), and the status for the trailers."""

    body: bytes
    code: Code = Code.OK
    message: str = ""

    @property
    def trailers(self) -> Pairs:
        """grpc-status, and grpc-message percent-encoded if there is one."""
        status = (b"grpc-status", b"%d" % self.code)
        if not self.message:
            return (status,)
        return status, (b"grpc-message", quote(self.message, safe=" !\"#$&'()*+,-./:;<=>?@[]^_`{|}~\\").encode())


Handler = Callable[[Any, "float | None"], Awaitable[Any]]  # the request's message and its deadline, to the response's
Methods = Mapping[str, tuple[str, Handler]]  # by path: the request's message type, and who answers


class GrpcApi:
    """TensorFlow Serving's gRPC services over a Service.

    `others` are methods of other services. With `as_content`, Predict answers with the tensors' bytes instead of lists
    of values.
    """

    def __init__(
        self,
        service: Service,
        *,
        as_content: bool = False,
        recorder: Recorder | None = None,
        others: Methods = MappingProxyType({}),
    ) -> None:
        self._service = service
        self._as_content = as_content
        self._recorder = recorder or NullRecorder()
        self._methods: dict[str, tuple[str, Handler]] = {
            **others,
            _PREDICTION + "Predict": ("PredictRequest", self._recorded("Predict", self._predict)),
            _PREDICTION + "Classify": ("ClassificationRequest", self._recorded("Classify", self._classify)),
            _PREDICTION + "Regress": ("RegressionRequest", self._recorded("Regress", self._regress)),
            _PREDICTION + "MultiInference": ("MultiInferenceRequest", self._multi_inference),
            _PREDICTION + "GetModelMetadata": ("GetModelMetadataRequest", self._metadata),
            _MODEL + "GetModelStatus": ("GetModelStatusRequest", self._status),
            _MODEL + "HandleReloadConfigRequest": ("ReloadConfigRequest", self._reload),
        }

    def _recorded(self, api: str, handler: Handler) -> Handler:
        """A handler whose requests are counted and timed as those of one API."""
        recorder = self._recorder

        async def recorded(request: Any, deadline_s: float | None) -> Any:  # noqa: ANN401 - generated messages
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

    async def answer(self, path: str, headers: Mapping[bytes, bytes], body: bytes) -> Reply:
        """Answer one unary call; `body` is the whole framed request."""
        try:
            method = self._methods.get(path)
            if method is None:
                return Reply(b"", Code.UNIMPLEMENTED, "unimplemented." if path.startswith(_PROFILER) else "")
            request_type, handler = method
            request = _parse(request_type, unframed(headers, body))
            response = await handler(request, _deadline_s(headers))
            message = response if type(response) is bytes else response.SerializeToString()
        except ServingError as error:
            # A client says the same when its own clock strikes first.
            message = _TOO_LATE if error.code is Code.DEADLINE_EXCEEDED else _cut(error.message)
            return Reply(b"", error.code, message)
        except Exception as error:  # the one door for bugs: a status, never a broken stream
            log.exception("Call failed: %s", path)
            return Reply(b"", Code.INTERNAL, _cut(f"{type(error).__name__}: {error}"))
        return Reply(framed(message))

    async def _predict(self, request: Any, deadline_s: float | None) -> bytes:  # noqa: ANN401 - generated messages
        ref, signature, inputs, output_filter = self._read_predict(request)
        predicted = await self._service.predict(
            ref, signature, inputs, output_filter=output_filter, deadline_s=deadline_s
        )
        return predict_response(
            predicted.name, predicted.version, predicted.signature, predicted.outputs, as_content=self._as_content
        )

    def _read_predict(self, request: Any) -> tuple[ModelRef, str, Mapping[str, np.ndarray], Sequence[str]]:  # noqa: ANN401
        """What a PredictRequest asks of which signature of which model, and the outputs it wants."""
        if isinstance(request, LikeOneBefore):
            return _model_ref(request.model_spec), request.model_spec.signature_name, request.inputs, ()
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        ref, signature = _model_ref(request.model_spec), request.model_spec.signature_name
        sent, inputs = request.inputs, {}
        for alias in sent:  # not items(), which protobuf has in Python
            try:
                inputs[alias] = tensors.from_proto(sent[alias])
            except InvalidInput:
                self._service.refuse_predict(ref, signature, sent)
                raise invalid_argument(f"tensor parsing error: {alias}") from None
        return ref, signature, inputs, request.output_filter

    async def _classify(self, request: Any, deadline_s: float | None) -> Any:  # noqa: ANN401 - generated messages
        inferred = await self._infer_one(request, signature_examples.CLASSIFY_METHOD, deadline_s)
        response = protos.ClassificationResponse()
        _fill_classifications(response.result, inferred.results[0])
        _fill_model_spec(response.model_spec, inferred, 0)
        return response

    async def _regress(self, request: Any, deadline_s: float | None) -> Any:  # noqa: ANN401 - generated messages
        inferred = await self._infer_one(request, signature_examples.REGRESS_METHOD, deadline_s)
        response = protos.RegressionResponse()
        _fill_regressions(response.result, inferred.results[0])
        _fill_model_spec(response.model_spec, inferred, 0)
        return response

    async def _infer_one(self, request: Any, method: str, deadline_s: float | None) -> Inferred:  # noqa: ANN401
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        ref = _model_ref(request.model_spec)
        task = (method, request.model_spec.signature_name)
        return await self._service.infer(ref, [task], request.input, deadline_s=deadline_s)

    async def _multi_inference(self, request: Any, deadline_s: float | None) -> Any:  # noqa: ANN401 - generated messages
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

    async def _metadata(self, request: Any, _deadline_s: float | None) -> Any:  # noqa: ANN401 - generated messages
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _SIGNATURE_DEF:
                raise invalid_argument(f"Metadata field %s is not supported{field}")  # its words, to the letter
        servable, definitions = self._service.signature_defs(_model_ref(request.model_spec))
        response = protos.GetModelMetadataResponse()
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        signatures = protos.SignatureDefMap()
        for key, definition in definitions.items():
            signatures.signature_def[key].CopyFrom(definition)
        response.metadata[_SIGNATURE_DEF].Pack(signatures)
        return response

    async def _status(self, request: Any, _deadline_s: float | None) -> Any:  # noqa: ANN401 - generated messages
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        spec = request.model_spec
        version = spec.version.value if spec.HasField("version") else None
        response = protos.GetModelStatusResponse()
        fill_status(response, self._service.status(spec.name, version))
        return response

    async def _reload(self, request: Any, deadline_s: float | None) -> Any:  # noqa: ANN401 - generated messages
        before = self._counts(request.metric_names)
        reload = asyncio.ensure_future(self._service.reload(request.config))
        timeout_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
        done, _ = await asyncio.wait([reload], timeout=timeout_s)  # it goes on after its caller's deadline
        if not done:
            raise ServingError(Code.DEADLINE_EXCEEDED, _TOO_LATE)
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


def _parse(message_type: str, raw: bytes) -> Any:  # noqa: ANN401 - generated messages
    try:
        if message_type == "PredictRequest":
            return predict_request_cache.read(raw)
        return getattr(protos, message_type).FromString(raw)
    except DecodeError:
        raise ServingError(Code.INTERNAL, "Failed to parse the request message") from None


def _model_ref(spec: Any) -> ModelRef:  # noqa: ANN401 - a ModelSpec message
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


def _fill_model_spec(spec: Any, inferred: Inferred, index: int) -> None:  # noqa: ANN401 - a ModelSpec message
    spec.name = inferred.name
    spec.version.value = inferred.version
    spec.signature_name = inferred.signatures[index]


def _fill_classifications(message: Any, results: Sequence[Classes]) -> None:  # noqa: ANN401 - a ClassificationResult
    for row in results:
        classes = message.classifications.add().classes
        for label, score in zip(row.labels, row.scores, strict=True):
            classes.add(label=label.decode("utf-8", "replace"), score=score)


def _fill_regressions(message: Any, values: Sequence[float]) -> None:  # noqa: ANN401 - a RegressionResult
    for value in values:
        message.regressions.add(value=value)


def framed(message: bytes) -> bytes:
    """A message as it goes over the wire, not compressed."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def unframed(headers: Mapping[bytes, bytes], body: bytes) -> bytes:
    """The message of a frame, unpacked. Raises INTERNAL or RESOURCE_EXHAUSTED when it cannot be."""
    if len(body) < 5 or len(body) - 5 < (length := int.from_bytes(body[1:5], "big")):
        raise ServingError(Code.INTERNAL, "The request ended before its message")
    message = body[5 : 5 + length]
    if not body[0]:
        return message
    encoding = headers.get(b"grpc-encoding", b"identity")
    window_bits = {b"gzip": zlib.MAX_WBITS | 16, b"deflate": zlib.MAX_WBITS}.get(encoding)
    if window_bits is None:
        raise ServingError(Code.UNIMPLEMENTED, f"Compression {encoding.decode('latin-1')} is not supported")
    unpacker = zlib.decompressobj(window_bits)
    try:
        plain = unpacker.decompress(message, MAX_UNCOMPRESSED_BYTES)
    except zlib.error:
        raise ServingError(Code.INTERNAL, "The compressed message cannot be unpacked") from None
    if not unpacker.eof:
        raise ServingError(Code.RESOURCE_EXHAUSTED, f"The message unpacks to more than {MAX_UNCOMPRESSED_BYTES} bytes")
    return plain


def _deadline_s(headers: Mapping[bytes, bytes]) -> float | None:
    given = headers.get(b"grpc-timeout")
    match = None if given is None else _TIMEOUT.fullmatch(given)
    return None if match is None else time.monotonic() + int(match[1]) * _UNIT_S[match[2]]


def _cut(message: str) -> str:
    if len(message) <= _MAX_MESSAGE_CHARACTERS:
        return message
    return message[:_MAX_MESSAGE_CHARACTERS] + "...TRUNCATED"
