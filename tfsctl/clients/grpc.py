"""The client of TensorFlow Serving's gRPC API.

Calls methods by name with the messages of `core.protos`, because the generated `*_grpc` modules would load TensorFlow.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeVar, cast

import grpc
from google.protobuf.message import DecodeError

from tfsctl.clients import addresses, grpc_channel, inference_calls
from tfsctl.clients.call_errors import answer_too_large, error_for_status, unexpected_answer
from tfsctl.clients.captured_request import CapturedRequest, RequestCaptured
from tfsctl.clients.connection import DEFAULT_CONNECTION, DEFAULT_TIMEOUT_S, Connection
from tfsctl.core import protos, tensors
from tfsctl.core.inference import Examples, InferenceResult, InferenceTask
from tfsctl.core.predict_response import read_predict_response
from tfsctl.core.saved_model import signatures_from_proto
from tfsctl.core.types import DEFAULT_SIGNATURE, ModelMetadata, ModelRef, Prediction, State, VersionStatus
from tfsctl.errors import InvalidInput, RequestRejected, TfsctlError

if TYPE_CHECKING:
    import numpy as np
    from google.protobuf.message import Message
    from typing_extensions import Self


ResponseT = TypeVar("ResponseT")
_PREDICTION_SERVICE = "/tensorflow.serving.PredictionService"
_MODEL_SERVICE = "/tensorflow.serving.ModelService"

# The part of gRPC's message before the reason why there is no connection.
_MESSAGE_PREFIX = re.compile(
    r"(?s).*(?:Failed to connect to remote host: |last error: [A-Z_]+: (?:ipv4|ipv6|unix):\S+: )"
)

# The messages of a receiver, client or server, for a message that is larger than its limit.
_TOO_LARGE = re.compile(r"larger than max \(\d+ vs\. (?P<limit>\d+)\)|Decompressed message larger than max")

_METHOD_OF_LOG = {
    "predict_log": "Predict",
    "classify_log": "Classify",
    "regress_log": "Regress",
    "multi_inference_log": "MultiInference",
}
"""The method of each kind of recorded request."""

STATUS_OF_CODE: dict[grpc.StatusCode, str] = {
    code: code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK
}


class GrpcClient:
    """A ServingClient for the gRPC port of a server; uses one channel."""

    transport: Literal["grpc"] = "grpc"

    def __init__(
        self, host: str, port: int, *, timeout_s: float = DEFAULT_TIMEOUT_S, connection: Connection = DEFAULT_CONNECTION
    ) -> None:
        self.address = addresses.format_address(host, port)
        self._route = connection.route(self.address)
        self._timeout_s = timeout_s
        self._captured = partial(CapturedRequest, "grpc", host, port, timeout_s, connection)
        self._captures_requests = connection.capture_requests
        self._connect_timeout_s = connection.connect_timeout_s
        self._connection = connection
        self._metadata = grpc_channel.metadata(connection)
        self._channel = grpc_channel.open_channel(host, port, connection)

    def predict(
        self,
        model: ModelRef,
        inputs: Mapping[str, np.ndarray],
        *,
        signature: str = DEFAULT_SIGNATURE,
        outputs: Sequence[str] = (),
    ) -> Prediction:
        """Run a signature on one batch. Raises as ServingClient documents."""
        request = protos.PredictRequest(model_spec=_spec(model, signature), output_filter=outputs)
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(tensors.to_proto(array))
        start = time.perf_counter()
        raw = self._run(f"{_PREDICTION_SERVICE}/Predict", request, bytes, about=model)
        latency_s = time.perf_counter() - start
        try:
            arrays, spec = read_predict_response(raw)
        except InvalidInput as error:
            raise self._unexpected_answer(model, error.message) from error
        except DecodeError:
            raise self._unexpected_answer(model, "it is not a PredictResponse") from None
        return Prediction(
            arrays, model.name, version=inference_calls.answered_version(spec), signature=signature, latency_s=latency_s
        )

    def infer(self, model: ModelRef, examples: Examples, tasks: Sequence[InferenceTask]) -> list[InferenceResult]:
        """Classify or regress examples; several tasks are one MultiInference. Raises as ServingClient documents."""

        def call(method: str, request: Message, parse: Callable[[bytes], ResponseT]) -> ResponseT:
            return self._run(method, request, parse, about=model)

        return inference_calls.over_grpc(call, model, _spec(model), examples, tasks)

    def metadata(self, model: ModelRef) -> ModelMetadata:
        """Fetch the signatures of a model. Raises as ServingClient documents."""
        request = protos.GetModelMetadataRequest(model_spec=_spec(model), metadata_field=["signature_def"])
        method = f"{_PREDICTION_SERVICE}/GetModelMetadata"
        response = self._call(method, request, protos.GetModelMetadataResponse.FromString, about=model)
        packed = protos.SignatureDefMap()
        try:
            is_signature_def = response.metadata["signature_def"].Unpack(packed)
        except DecodeError:
            is_signature_def = False
        if not is_signature_def:
            raise self._unexpected_answer(model, "its metadata holds no signature_def")
        signatures = signatures_from_proto(packed.signature_def)
        return ModelMetadata(
            response.model_spec.name, inference_calls.answered_version(response.model_spec), signatures
        )

    def status(self, model: ModelRef) -> tuple[VersionStatus, ...]:
        """Fetch the state of each version, highest version first. Raises as ServingClient documents."""
        request = protos.GetModelStatusRequest(model_spec=_spec(model))
        response = self._call(
            f"{_MODEL_SERVICE}/GetModelStatus", request, protos.GetModelStatusResponse.FromString, about=model
        )
        states = protos.ModelVersionStatus.State
        codes = protos.StatusProto.DESCRIPTOR.fields_by_name["error_code"].enum_type
        assert codes is not None  # noqa: S101 - an enum field has an enum type
        try:
            found = [
                VersionStatus(
                    version=entry.version,
                    state=cast("State", states.Name(entry.state)),
                    error_code=codes.values_by_number[entry.status.error_code].name,
                    error_message=entry.status.error_message,
                )
                for entry in response.model_version_status
            ]
        except (ValueError, KeyError) as error:  # a number that no state or error code has
            raise self._unexpected_answer(model, f"it is not a model status ({error})") from error
        return tuple(sorted(found, key=lambda status: -status.version))

    def reload_config(self, config: protos.ModelServerConfig, *, about: ModelRef) -> None:
        """Have the server serve exactly the models, versions and labels of `config` (HandleReloadConfigRequest).

        Returns before a new version of a model that is served already is AVAILABLE. Errors name the model `about`.
        Raises as ServingClient documents; RequestRejected for a label of a version that is not AVAILABLE.
        """
        request = protos.ReloadConfigRequest(config=config)
        method = f"{_MODEL_SERVICE}/HandleReloadConfigRequest"
        status = self._call(method, request, protos.ReloadConfigResponse.FromString, about=about).status
        if status.error_code:  # TensorFlow Serving reports failures as the status of the call, too
            names = {code.value[0]: code.name for code in grpc.StatusCode}
            raise error_for_status(names[status.error_code], status.error_message, address=self._route, about=about)

    def send_recorded(self, log: protos.PredictionLog, model: ModelRef) -> str:
        """Send the request of a PredictionLog to `model`, and return the status code of the answer, such as "OK".

        Does not raise for any status. The call is safe to make from several threads.
        """
        kind = log.WhichOneof("log_type") or ""
        request = getattr(log, kind).request
        specs = [task.model_spec for task in request.tasks] if kind == "multi_inference_log" else [request.model_spec]
        for spec in specs:
            spec.CopyFrom(_spec(model, spec.signature_name))
        call: grpc.UnaryUnaryMultiCallable[Message, bytes] = self._channel.unary_unary(
            f"{_PREDICTION_SERVICE}/{_METHOD_OF_LOG[kind]}", request_serializer=type(request).SerializeToString
        )
        try:
            call(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            return STATUS_OF_CODE[error.code()]
        return grpc.StatusCode.OK.name

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, method: str, request: Message, parse: Callable[[bytes], ResponseT], *, about: ModelRef) -> ResponseT:
        """Make a call that runs the model, or raise RequestCaptured if requests are captured."""
        if self._captures_requests:
            raise RequestCaptured(self._captured(method, request))
        return self._call(method, request, parse, about=about)

    def _call(
        self, method: str, request: Message, parse: Callable[[bytes], ResponseT], *, about: ModelRef
    ) -> ResponseT:
        call: grpc.UnaryUnaryMultiCallable[Message, ResponseT] = self._channel.unary_unary(
            method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=parse,
        )
        self._connect(about)
        try:
            return call(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise self._failure(error, about) from error

    def _connect(self, about: ModelRef) -> None:
        """Wait for the first connection if there is a timeout for connecting."""
        if self._connect_timeout_s is None:
            return
        if not grpc_channel.is_connected_within(self._channel, self._connect_timeout_s):
            words = f"no connection within {self._connect_timeout_s:g} s"
            raise error_for_status("DEADLINE_EXCEEDED", words, address=self._route, about=about)
        self._connect_timeout_s = None

    def _failure(self, error: grpc.RpcError, about: ModelRef) -> TfsctlError:
        status = STATUS_OF_CODE[error.code()]
        words = _MESSAGE_PREFIX.sub("", error.details() or "")
        if self._is_answer_too_large(words):
            return answer_too_large(self._connection, address=self._route, about=about)
        return error_for_status(status, words, address=self._route, about=about)

    def _is_answer_too_large(self, message: str) -> bool:
        """Whether this client refused an answer. A server that refuses a request uses the same words."""
        found = _TOO_LARGE.search(message)
        if found is None:
            return False
        if found["limit"] is None:
            return self._connection.compression is None  # a request that was not compressed is not decompressed
        return int(found["limit"]) == self._connection.max_answer_bytes

    def _unexpected_answer(self, model: ModelRef, why: str) -> RequestRejected:
        return unexpected_answer(self.transport, why, address=self.address, about=model)


def _spec(model: ModelRef, signature: str = "") -> protos.ModelSpec:
    spec = protos.ModelSpec(name=model.name, signature_name=signature)
    if model.version is not None:
        spec.version.value = model.version
    elif model.label is not None:
        spec.version_label = model.label
    return spec
