"""A proxy in front of any model server that records the requests of a model: REST and gRPC on one port.

Requests and answers are forwarded unchanged. Requests for the model are sampled for a `RequestLog`, as in the embedded
server, so the files are the same and clients never wait for the disk.
"""

from __future__ import annotations

import asyncio
import gzip
import re
import time
from collections.abc import Callable
from urllib.parse import unquote

import grpc
import httpx
from google.protobuf.message import DecodeError

from tfsctl.core import protos
from tfsctl.core.types import ModelRef
from tfsctl.rollout.front.envoy.routes import VERSION_HEADER
from tfsctl.rollout.recording.forwarded_headers import HOP_BY_HOP, answer_headers, call_metadata
from tfsctl.rollout.recording.served_signatures import ServedSignatures
from tfsctl.server.grpc import framing
from tfsctl.server.grpc.request_log_entry import LOGGED_METHODS
from tfsctl.server.grpc.request_log_entry import prediction_log as grpc_log
from tfsctl.server.http.exchange import Exchange
from tfsctl.server.memory_budget import BudgetExceededError
from tfsctl.server.request_body import GRPC_PREFIX_BYTES, BodyTimeoutError, BodyTooLargeError, ClientGoneError
from tfsctl.server.request_log.request_log import RequestLog, SampledRequest, read_clocks
from tfsctl.server.rest.request_log_entry import prediction_log as rest_log
from tfsctl.server.status import HTTP_STATUS, Code, ServingError

MAX_BODY_BYTES = 1 << 30
_REST_CALL = re.compile(
    r"/v1/models/(?P<model>[^/:?]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:?]+))?"
    r":(?P<verb>predict|classify|regress)(\?.*)?"
)
_GRPC_CALLS = {f"/tensorflow.serving.PredictionService/{method}": method for method in LOGGED_METHODS}
_REQUEST_TYPES = {
    "Predict": "PredictRequest",
    "Classify": "ClassificationRequest",
    "Regress": "RegressionRequest",
    "MultiInference": "MultiInferenceRequest",
}
_RESPONSE_TYPES = {name: kind.replace("Request", "Response") for name, kind in _REQUEST_TYPES.items()}
_CODE_OF_STATUS = {413: Code.RESOURCE_EXHAUSTED, 412: Code.FAILED_PRECONDITION, 408: Code.DEADLINE_EXCEEDED} | {
    status: code for code, status in reversed(HTTP_STATUS.items())
}


class RecordingProxy:
    """The application of a listener: forwards requests, and records those of one model.

    `rest` sends to the REST address, `channel` to the gRPC address; None for a protocol that is not forwarded.
    """

    def __init__(
        self,
        rest: httpx.AsyncClient | None,
        channel: grpc.aio.Channel | None,
        log: RequestLog,
        model: str,
        signatures: ServedSignatures,
    ) -> None:
        self._rest, self._channel, self._log, self._model = rest, channel, log, model
        self._signatures = signatures

    async def __call__(self, exchange: Exchange) -> None:
        """Forward one request."""
        # The listener may run this without a task, which httpx and grpcio need.
        await asyncio.ensure_future(self._forward(exchange))

    async def _forward(self, exchange: Exchange) -> None:
        is_grpc = framing.is_grpc(exchange.headers)
        try:
            body = await exchange.body(MAX_BODY_BYTES + GRPC_PREFIX_BYTES, is_framed=is_grpc)
            await (self._forward_grpc(exchange, body) if is_grpc else self._forward_rest(exchange, body))
        except ClientGoneError:
            pass
        except ServingError as error:
            await _refuse(exchange, error.code, error.message)
        except (BodyTooLargeError, BodyTimeoutError, BudgetExceededError) as error:
            await _refuse(exchange, Code.RESOURCE_EXHAUSTED, f"the recording proxy cannot hold the request: {error}")

    async def _forward_rest(self, exchange: Exchange, body: bytes) -> None:
        if self._rest is None:
            await _refuse(exchange, Code.UNIMPLEMENTED, "the recording proxy has no REST address of the server")
            return
        sampled = self._sampled_rest(exchange, body)
        headers = [
            (name, value) for name, value in exchange.headers.items() if name.decode("latin-1") not in HOP_BY_HOP
        ]
        try:
            request = self._rest.build_request(exchange.method, exchange.target, headers=headers, content=body)
            response = await self._rest.send(request, stream=True)
            try:
                content = b"".join([part async for part in response.aiter_raw()])
            finally:
                await response.aclose()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            if sampled is not None:
                sampled.finish(Code.UNAVAILABLE)
            await _refuse(exchange, Code.UNAVAILABLE, f"the recording proxy cannot reach the server: {error}")
            return
        if sampled is not None:
            if VERSION_HEADER in response.headers and response.headers[VERSION_HEADER].isdecimal():
                sampled.version = int(response.headers[VERSION_HEADER])
            code = _CODE_OF_STATUS.get(response.status_code, Code.UNKNOWN)
            sampled.finish(
                code, _decompressed(content) if response.headers.get("content-encoding") == "gzip" else content
            )
        answered = tuple(
            (name.lower(), value)
            for name, value in response.headers.raw
            if name.decode("latin-1").lower() not in HOP_BY_HOP
        )
        await exchange.reply(response.status_code, answered, content)

    def _sampled_rest(self, exchange: Exchange, body: bytes) -> SampledRequest | None:
        match = _REST_CALL.fullmatch(exchange.target)
        if exchange.method != "POST" or match is None or unquote(match["model"]) != self._model:
            return None
        if not self._log.is_sampled():
            return None
        version = None if match["version"] is None else int(match["version"])
        ref = ModelRef(self._model, version, match["label"] and unquote(match["label"]))
        is_gzip = b"gzip" in exchange.headers.get(b"content-encoding", b"")

        def convert(entry: SampledRequest) -> protos.PredictionLog:
            known = ref if entry.version is None else ModelRef(self._model, entry.version)
            entry.version, entry.definitions = self._signatures.get(known)
            if is_gzip:
                entry.body = gzip.decompress(entry.body)
            return rest_log(entry)

        return self._entry(convert, match["verb"].capitalize(), "rest", version, body)

    async def _forward_grpc(self, exchange: Exchange, body: bytes) -> None:
        if self._channel is None:
            await _refuse(exchange, Code.UNIMPLEMENTED, "the recording proxy has no gRPC address of the server")
            return
        message = framing.unframe(exchange.headers, body)
        sampled = self._sampled_grpc(exchange.target, message)
        deadline = framing.read_deadline(exchange.headers)
        timeout_s = None if deadline is None else max(0.0, deadline - time.monotonic())
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(exchange.target)
        call = method(message, metadata=call_metadata(exchange.headers), timeout=timeout_s)
        try:
            answer = await call
            code, details = Code.OK, ""
        except grpc.aio.AioRpcError as error:
            answer, code, details = b"", Code(error.code().value[0]), error.details() or ""
        headers, trailers = await call.initial_metadata(), await call.trailing_metadata()
        if sampled is not None:
            if code is Code.OK:
                sampled.version = _version(sampled.api, answer)
            sampled.finish(code, answer)
        reply = framing.GrpcResponse(framing.frame(answer) if code is Code.OK else b"", code, details)
        first = (*framing.RESPONSE_HEADERS, *answer_headers(headers))
        await exchange.reply(200, first, reply.body, (*reply.trailers, *answer_headers(trailers)))

    def _sampled_grpc(self, target: str, message: bytes) -> SampledRequest | None:
        api = _GRPC_CALLS.get(target)
        if api is None or not self._log.is_sampled():
            return None
        try:
            request = getattr(protos, _REQUEST_TYPES[api]).FromString(message)
        except DecodeError:
            return None
        specs = [task.model_spec for task in request.tasks] if api == "MultiInference" else [request.model_spec]
        if not specs or specs[0].name != self._model:
            return None
        version = specs[0].version.value if specs[0].HasField("version") else None
        return self._entry(grpc_log, api, "grpc", version, message)

    def _entry(
        self,
        convert: Callable[[SampledRequest], protos.PredictionLog],
        api: str,
        protocol: str,
        version: int | None,
        body: bytes,
    ) -> SampledRequest:
        return SampledRequest(self._log, convert, api, protocol, self._model, version, None, body, *read_clocks())


def _decompressed(content: bytes) -> bytes:
    """A response decompressed with gzip; empty if that is not possible."""
    try:
        return gzip.decompress(content)
    except (OSError, EOFError):
        return b""


def _version(api: str, answer: bytes) -> int | None:
    """The version that an answer names."""
    try:
        response = getattr(protos, _RESPONSE_TYPES[api]).FromString(answer)
    except DecodeError:
        return None
    spec = response.results[0].model_spec if api == "MultiInference" and response.results else None
    spec = response.model_spec if api != "MultiInference" else spec
    return spec.version.value if spec is not None and spec.HasField("version") else None


async def _refuse(exchange: Exchange, code: Code, message: str) -> None:
    """Answer a request that is not forwarded."""
    if framing.is_grpc(exchange.headers):
        reply = framing.failure(code, message)
        await exchange.reply(200, framing.RESPONSE_HEADERS, reply.body, reply.trailers)
        return
    text = httpx.Response(200, json={"error": message}).content
    await exchange.reply(HTTP_STATUS[code], ((b"content-type", b"application/json"),), text)
