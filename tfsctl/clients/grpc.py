"""TensorFlow Serving's gRPC API as a ServingClient. With `grpc_channel.py` the only user of grpcio.

The calls are made by name with the messages of `core.protos`: the generated `*_grpc` modules would load TensorFlow.
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
from tfsctl.clients.call_errors import fault, through
from tfsctl.clients.captured_request import CapturedRequest, RequestCaptured
from tfsctl.clients.connection import DEFAULT_TIMEOUT_S, PLAIN, Connection
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

# What gRPC tells before it comes to why there is no connection.
_BEFORE_THE_REASON = re.compile(
    r"(?s).*(?:Failed to connect to remote host: |last error: [A-Z_]+: (?:ipv4|ipv6|unix):\S+: )"
)

STATUS_OF_CODE: dict[grpc.StatusCode, str] = {
    code: code.name for code in grpc.StatusCode if code is not grpc.StatusCode.OK
}


class GrpcClient:
    """A server's gRPC port, over one channel."""

    transport: Literal["grpc"] = "grpc"

    def __init__(
        self, host: str, port: int, *, timeout_s: float = DEFAULT_TIMEOUT_S, connection: Connection = PLAIN
    ) -> None:
        self.address = addresses.written(host, port)
        self._through = through(self.address, connection)
        self._timeout_s = timeout_s
        self._call_of = partial(CapturedRequest, "grpc", host, port, timeout_s, connection)
        self._captures_requests = connection.capture_requests
        self._connect_timeout_s = connection.connect_timeout_s
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
        """Run a signature on a whole batch. Raises what ServingClient says."""
        request = protos.PredictRequest(model_spec=_spec(model, signature), output_filter=outputs)
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(tensors.to_proto(array))
        start = time.perf_counter()
        raw = self._ask(f"{_PREDICTION_SERVICE}/Predict", request, bytes, about=model)
        latency_s = time.perf_counter() - start
        try:
            arrays, spec = read_predict_response(raw)
        except InvalidInput as error:
            raise self._strange(model, error.message) from error
        except DecodeError:
            raise self._strange(model, "it is no PredictResponse") from None
        return Prediction(arrays, model.name, version=_version(spec), signature=signature, latency_s=latency_s)

    def infer(self, model: ModelRef, examples: Examples, tasks: Sequence[InferenceTask]) -> list[InferenceResult]:
        """Classify or regress examples; several tasks are one MultiInference. Raises what ServingClient says."""

        def call(method: str, request: Message, parse: Callable[[bytes], ResponseT]) -> ResponseT:
            return self._ask(method, request, parse, about=model)

        return inference_calls.over_grpc(call, model, _spec(model), examples, tasks)

    def metadata(self, model: ModelRef) -> ModelMetadata:
        """Ask what the model's signatures are. Raises what ServingClient says."""
        request = protos.GetModelMetadataRequest(model_spec=_spec(model), metadata_field=["signature_def"])
        method = f"{_PREDICTION_SERVICE}/GetModelMetadata"
        response = self._call(method, request, protos.GetModelMetadataResponse.FromString, about=model)
        packed = protos.SignatureDefMap()
        if not response.metadata["signature_def"].Unpack(packed):
            raise self._strange(model, "its metadata holds no signature_def")
        signatures = signatures_from_proto(packed.signature_def)
        return ModelMetadata(response.model_spec.name, _version(response.model_spec), signatures)

    def status(self, model: ModelRef) -> tuple[VersionStatus, ...]:
        """Ask where each version is in its life, highest version first. Raises what ServingClient says."""
        request = protos.GetModelStatusRequest(model_spec=_spec(model))
        response = self._call(
            f"{_MODEL_SERVICE}/GetModelStatus", request, protos.GetModelStatusResponse.FromString, about=model
        )
        states = protos.ModelVersionStatus.State
        codes = protos.StatusProto.DESCRIPTOR.fields_by_name["error_code"].enum_type
        assert codes is not None  # noqa: S101 - an enum field has an enum type
        found = [
            VersionStatus(
                version=entry.version,
                state=cast("State", states.Name(entry.state)),
                error_code=codes.values_by_number[entry.status.error_code].name,
                error_message=entry.status.error_message,
            )
            for entry in response.model_version_status
        ]
        return tuple(sorted(found, key=lambda status: -status.version))

    def close(self) -> None:
        """Let go of the channel."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, method: str, request: Message, parse: Callable[[bytes], ResponseT], *, about: ModelRef) -> ResponseT:
        """Make a call that runs the model. Raises RequestCaptured where that is to be shown only."""
        if self._captures_requests:
            raise RequestCaptured(self._call_of(method, request))
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
        """Wait for the first connection, for as long as it may take where that has a limit of its own."""
        if self._connect_timeout_s is None:
            return
        if not grpc_channel.is_connected_within(self._channel, self._connect_timeout_s):
            words = f"no connection within {self._connect_timeout_s:g} s"
            raise fault("DEADLINE_EXCEEDED", words, address=self._through, about=about)
        self._connect_timeout_s = None

    def _failure(self, error: grpc.RpcError, about: ModelRef) -> TfsctlError:
        status = STATUS_OF_CODE[error.code()]
        words = _BEFORE_THE_REASON.sub("", error.details() or "")
        return fault(status, words, address=self._through, about=about)

    def _strange(self, model: ModelRef, why: str) -> RequestRejected:
        return RequestRejected(
            f"{model} at {self.address} answered, but {why}",
            status="INTERNAL",
            hint="is this a TensorFlow Serving gRPC port?",
        )


def _spec(model: ModelRef, signature: str = "") -> protos.ModelSpec:
    spec = protos.ModelSpec(name=model.name, signature_name=signature)
    if model.version is not None:
        spec.version.value = model.version
    elif model.label is not None:
        spec.version_label = model.label
    return spec


def _version(spec: protos.ModelSpec) -> int | None:
    return int(spec.version.value) if spec.HasField("version") else None
