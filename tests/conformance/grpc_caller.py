"""Sends recorded gRPC requests to a server with the official messages: one at a time, or several at the same moment."""

from __future__ import annotations

import ast
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import text_format
from recorded_cases import GrpcCase
from waiting import PATIENCE_S

from tfsctl.core import protos

_PREDICTION, _MODEL = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"
METHODS = {
    "Predict": (_PREDICTION, "PredictRequest", "PredictResponse"),
    "Classify": (_PREDICTION, "ClassificationRequest", "ClassificationResponse"),
    "Regress": (_PREDICTION, "RegressionRequest", "RegressionResponse"),
    "MultiInference": (_PREDICTION, "MultiInferenceRequest", "MultiInferenceResponse"),
    "GetModelMetadata": (_PREDICTION, "GetModelMetadataRequest", "GetModelMetadataResponse"),
    "GetModelStatus": (_MODEL, "GetModelStatusRequest", "GetModelStatusResponse"),
    "HandleReloadConfigRequest": (_MODEL, "ReloadConfigRequest", "ReloadConfigResponse"),
}
_SHORT_S = 0.03  # less than a run of the slow model takes on any machine
# The client's own message, if the stream is reset at the moment its deadline passes
_LATE = re.compile(r"Stream removed \((Deadline Exceeded)\)")
_NO_LIMITS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


@dataclass(frozen=True, slots=True)
class GrpcReply:
    """A gRPC answer: a code, and a message (bytes for a method called with bytes) if it is OK; otherwise details."""

    code: str
    details: str
    response: Any


@contextmanager
def connected(host: str, port: int, models: Path) -> Iterator[GrpcCaller]:
    """A caller over one channel, which is open for as long as the block runs."""
    with grpc.insecure_channel(f"{host}:{port}", options=_NO_LIMITS) as channel:
        yield GrpcCaller(channel, models)


class GrpcCaller:
    """Makes calls to one server; `models` is the folder that stands for `{MODELS}`."""

    def __init__(self, channel: grpc.Channel, models: Path) -> None:
        self._channel = channel
        self._models = models

    def call(self, case: GrpcCase, *, timeout_s: float | None = None) -> GrpcReply:
        """Make one call. `timeout_s` replaces the deadline: the recorded one, or a longer one if the call met that."""
        return _reply(self._start(case, timeout_s))

    def call_concurrently(self, cases: Sequence[GrpcCase], last_after_s: float = 0.0) -> list[GrpcReply]:
        """Make calls at the same moment, the last of them some seconds after the others.

        If all were recorded as DEADLINE_EXCEEDED, their deadline is so short that a faster machine exceeds it too.
        """
        timeout_s = _SHORT_S if all(case.code == "DEADLINE_EXCEEDED" for case in cases) else None
        calls = [self._start(case, timeout_s) for case in cases[:-1]]
        time.sleep(last_after_s)
        calls.append(self._start(cases[-1], timeout_s))
        return [_reply(call) for call in calls]

    def with_models_folder(self, text: str) -> str:
        """A recorded text with the folder of the models in place."""
        return text.replace("{MODELS}", str(self._models))

    def expected_response(self, case: GrpcCase) -> Any:
        """The recorded response message (or bytes)."""
        if case.method.startswith("/"):
            return ast.literal_eval(case.details)
        return text_format.Parse(self.with_models_folder(case.response), getattr(protos, METHODS[case.method][2])())

    def _start(self, case: GrpcCase, timeout_s: float | None) -> Any:
        if timeout_s is None:  # a call that met its deadline may take longer on a slower machine
            timeout_s = case.timeout_s if case.code == "DEADLINE_EXCEEDED" else max(case.timeout_s, PATIENCE_S)
        if case.method.startswith("/"):
            request = b"" if case.request == "<empty bytes>" else ast.literal_eval(case.request)
            raw: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(case.method)
            return raw.future(request, timeout=timeout_s)
        service, request_type, response_type = METHODS[case.method]
        call: grpc.UnaryUnaryMultiCallable[Any, Any] = self._channel.unary_unary(
            service + case.method,
            request_serializer=getattr(protos, request_type).SerializeToString,
            response_deserializer=getattr(protos, response_type).FromString,
        )
        request = text_format.Parse(self.with_models_folder(case.request), getattr(protos, request_type)())
        return call.future(request, timeout=timeout_s)


def _reply(call: Any) -> GrpcReply:
    try:
        return GrpcReply("OK", "", call.result())
    except grpc.RpcError as error:
        return GrpcReply(error.code().name, _LATE.sub(r"\1", error.details() or ""), None)
