"""The gRPC adapter: PredictionService and ModelService, translated to the service and back.

gRPC over HTTP/2 is a 5-byte frame around a message, and the status in the trailers:
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

import logging
import re
import time
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from google.protobuf.message import DecodeError

from tfsctl.core import protos, tensors
from tfsctl.core.types import ModelRef
from tfsctl.errors import InvalidInput
from tfsctl.server.rest import MAX_UNCOMPRESSED_BYTES, fill_status
from tfsctl.server.service import Predicted, Service
from tfsctl.server.status import Code, ServingError, invalid_argument

log = logging.getLogger(__name__)

_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"
_MAX_MESSAGE_CHARACTERS = 1024  # the real server cuts its messages there, so that they fit a header
_TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])")
_UNIT_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_SIGNATURE_DEF = "signature_def"


@dataclass(frozen=True, slots=True)
class Reply:
    """A gRPC answer: the framed message (empty unless OK), and the status for the trailers."""

    body: bytes
    code: Code = Code.OK
    message: str = ""

    @property
    def trailers(self) -> list[tuple[bytes, bytes]]:
        """grpc-status, and grpc-message percent-encoded if there is one."""
        pairs = [(b"grpc-status", b"%d" % self.code)]
        if self.message:
            pairs.append((b"grpc-message", quote(self.message, safe=" !\"#$&'()*+,-./:;<=>?@[]^_`{|}~\\").encode()))
        return pairs


class GrpcApi:
    """TensorFlow Serving's gRPC services over a Service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._methods: dict[str, tuple[str, Callable[[Any, float | None], Awaitable[Any]]]] = {
            _PREDICTION + "Predict": ("PredictRequest", self._predict),
            _PREDICTION + "GetModelMetadata": ("GetModelMetadataRequest", self._metadata),
            _MODEL + "GetModelStatus": ("GetModelStatusRequest", self._status),
        }

    async def answer(self, path: str, headers: dict[bytes, bytes], body: bytes) -> Reply:
        """Answer one unary call; `body` is the whole framed request."""
        try:
            method = self._methods.get(path)
            if method is None:
                return Reply(b"", Code.UNIMPLEMENTED)
            request_type, handler = method
            request = _parse(getattr(protos, request_type), _unframed(headers, body))
            response = await handler(request, _deadline_s(headers))
            message = response.SerializeToString()
        except ServingError as error:
            return Reply(b"", error.code, _cut(error.message))
        except Exception as error:  # the one door for bugs: a status, never a broken stream
            log.exception("Call failed: %s", path)
            return Reply(b"", Code.INTERNAL, _cut(f"{type(error).__name__}: {error}"))
        return Reply(b"\0" + len(message).to_bytes(4, "big") + message)

    async def _predict(self, request: Any, deadline_s: float | None) -> Any:  # noqa: ANN401 - generated messages
        inputs = {}
        for alias, proto in request.inputs.items():
            try:
                inputs[alias] = tensors.from_proto(proto)
            except InvalidInput:
                raise invalid_argument(f"tensor parsing error: {alias}") from None
        ref = _model_ref(request.model_spec)
        predicted = await self._service.predict(
            ref,
            request.model_spec.signature_name,
            inputs,
            output_filter=request.output_filter,
            deadline_s=deadline_s,
        )
        return _predict_response(predicted)

    async def _metadata(self, request: Any, _deadline_s: float | None) -> Any:  # noqa: ANN401 - generated messages
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

    async def _status(self, request: Any, _deadline_s: float | None) -> Any:  # noqa: ANN401 - generated messages
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        spec = request.model_spec
        version = spec.version.value if spec.HasField("version") else None
        response = protos.GetModelStatusResponse()
        fill_status(response, self._service.status(spec.name, version))
        return response


def _parse(message_type: Any, raw: bytes) -> Any:  # noqa: ANN401 - generated messages
    try:
        return message_type.FromString(raw)
    except DecodeError:
        raise ServingError(Code.INTERNAL, "Failed to parse the request message") from None


def _model_ref(spec: Any) -> ModelRef:  # noqa: ANN401 - a ModelSpec message
    if not spec.name:
        raise invalid_argument("ModelSpec has no name specified.")
    choice = spec.WhichOneof("version_choice")
    return ModelRef(
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


def _predict_response(predicted: Predicted) -> Any:  # noqa: ANN401 - a PredictResponse message
    response = protos.PredictResponse()
    spec = response.model_spec
    spec.name = predicted.name
    spec.version.value = predicted.version
    spec.signature_name = predicted.signature
    for alias, array in predicted.outputs.items():
        response.outputs[alias].CopyFrom(tensors.to_proto(array, as_content=False))
    return response


def _unframed(headers: dict[bytes, bytes], body: bytes) -> bytes:
    """The message of a unary request's only frame."""
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


def _deadline_s(headers: dict[bytes, bytes]) -> float | None:
    match = _TIMEOUT.fullmatch(headers.get(b"grpc-timeout", b""))
    return None if match is None else time.monotonic() + int(match[1]) * _UNIT_S[match[2]]


def _cut(message: str) -> str:
    if len(message) <= _MAX_MESSAGE_CHARACTERS:
        return message
    return message[:_MAX_MESSAGE_CHARACTERS] + "...TRUNCATED"
