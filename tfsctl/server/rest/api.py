"""The REST adapter: translates the requests of TensorFlow Serving's REST API to the service, and its results back.

Look here for paths, methods, gzip bodies, statuses and the pages that are not about predictions; `predict` answers
predict bodies, `examples` classify and regress bodies, and `json` reads and writes them.
Paths and texts: tensorflow_serving/model_servers/http_rest_api_util.cc and http_rest_api_handler.cc.
"""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Coroutine, Mapping
from functools import lru_cache, partial
from http import HTTPStatus
from time import perf_counter
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from tfsctl.core.model_dir import MAX_VERSION
from tfsctl.core.types import ModelRef
from tfsctl.server.execution.servable import Servable
from tfsctl.server.gzip_bodies import decompress
from tfsctl.server.http.exchange import Exchange
from tfsctl.server.limits import MAX_DEFLATE_RATIO, MAX_UNCOMPRESSED_BYTES
from tfsctl.server.monitoring.recorder import NullRecorder, Recorder
from tfsctl.server.request_context import charge_memory, max_step_bytes
from tfsctl.server.request_log.request_log import SampledRequest
from tfsctl.server.request_log.request_logs import RequestLogs
from tfsctl.server.rest import message_json
from tfsctl.server.rest.examples import RestExamples
from tfsctl.server.rest.predict import RestPredict
from tfsctl.server.rest.request_log_entry import prediction_log
from tfsctl.server.rest.response import RestResponse, Send, bug_response, error_response, html_page
from tfsctl.server.service.model_service import Service
from tfsctl.server.status import Code, ServingError, invalid_argument
from tfsctl.server.worker_threads import WorkerThreads

log = logging.getLogger(__name__)

_MAX_CACHED_TARGET = 256  # characters; longer paths are parsed each time
_VERSION_DIGITS = 20  # one more than a version may have
KNOWN_METHODS = frozenset(("GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"))
_CHARACTER = r"[\w.~!$&'()*+,;=@?#-]"  # of a URI (RFC 3986), but / and :; to the real server ? and # are part of a name
_NAME = rf"(?=[^/:]){_CHARACTER}*(?:%[0-9a-fA-F]{{2}}{_CHARACTER}*)*"
_VERSION_OR_LABEL = rf"(?:(?:(?i:/versions/)(?P<version>\d+))|(?:(?i:/labels/)(?P<label>{_NAME})))?"
_VERBS = re.compile(
    rf"(?i:/v1/models/)(?P<name>{_NAME}){_VERSION_OR_LABEL}:(?P<verb>classify|regress|predict)", re.ASCII
)
_MODELS = re.compile(rf"(?i)/v1/models(?:/(?P<name>{_NAME}))?{_VERSION_OR_LABEL}(?:/(?P<metadata>metadata))?", re.ASCII)
_URI = re.compile(r"[\w.~!$&'()*+,;=@?#:/-]*(?:%[0-9a-fA-F]{2}[\w.~!$&'()*+,;=@?#:/-]*)*", re.ASCII)


class Api(Protocol):
    """Answers HTTP requests: the REST API, or a wrapper around it."""

    def begin(self, exchange: Exchange, send: Send) -> bool:
        """Serve a request that has arrived completely, without a task. Returns False if that takes a task."""

    async def answer(self, method: str, target: str, headers: Mapping[bytes, bytes], body: bytes) -> RestResponse:
        """Answer one request; `target` is its path as the client sent it, with the query string."""


class RestApi:
    """TensorFlow Serving's REST API over a Service. With `cache_requests` off, every path is parsed from scratch."""

    def __init__(
        self,
        service: Service,
        *,
        timeout_s: float | None,
        cache_requests: bool = True,
        recorder: Recorder | None = None,
        request_logs: RequestLogs | None = None,
    ) -> None:
        self._service = service
        self._recorder = recorder or NullRecorder()
        self._request_logs = request_logs or RequestLogs()
        self._timeout_s = timeout_s
        self._route = _cached_route if cache_requests else _parse_route
        self._threads = WorkerThreads("json")
        self._predict = RestPredict(service, self._threads, timeout_s=timeout_s)
        self._examples = RestExamples(service, self._threads, timeout_s=timeout_s)

    def answer(
        self, method: str, target: str, headers: Mapping[bytes, bytes], body: bytes
    ) -> Coroutine[Any, Any, RestResponse]:
        """Answer one request; `target` is its path as the client sent it, with the query string."""
        answer = self._answer_recorded if self._recorder.is_active else self._answer
        return answer(method, target, headers, body)

    def begin(self, exchange: Exchange, send: Send) -> bool:
        """Serve a small predict, classify or regress request without a task. Returns False for any other request."""
        if exchange.method != "POST" or b"content-encoding" in exchange.headers or self._request_logs.is_on:
            return False
        start_s = perf_counter() if self._recorder.is_active else 0.0
        route = self._route(exchange.target)
        if route is None:
            return False
        ref, verb = route
        if ref is None:
            return False
        finish = partial(self._finish, exchange, send, verb, start_s)
        if verb == "predict":
            return self._predict.begin(ref, exchange, finish)
        return self._examples.begin(ref, verb, exchange, finish)

    def _finish(
        self,
        exchange: Exchange,
        send: Send,
        verb: str,
        start_s: float,
        servable: Servable,
        rows: int,
        outcome: object,
    ) -> None:
        """Send the outcome of a request that was served without a task. None: it could not be converted with others."""
        if outcome is None:
            send(exchange, None)
            return
        if isinstance(outcome, bytes):
            response = RestResponse(200, outcome)
        elif isinstance(outcome, ServingError):
            response = error_response(outcome)
        else:
            error = outcome if isinstance(outcome, BaseException) else TypeError(type(outcome))
            log.error("Request failed: %s", exchange.target, exc_info=error)
            response = bug_response(error)
        if self._recorder.is_active:
            seconds = perf_counter() - start_s
            if response.code is Code.OK:
                self._recorder.inference_finished(servable.name, verb.capitalize(), seconds)
                if verb != "predict":
                    self._recorder.examples_classified(servable.name, rows)
            self._record(exchange.method, exchange.target, response, seconds)
        send(exchange, response)

    async def _answer_recorded(
        self, method: str, target: str, headers: Mapping[bytes, bytes], body: bytes
    ) -> RestResponse:
        start_s = perf_counter()
        reply = await self._answer(method, target, headers, body)
        self._record(method, target, reply, perf_counter() - start_s)
        return reply

    def _record(self, method: str, target: str, reply: RestResponse, seconds: float) -> None:
        """Count an answer as TensorFlow Serving does: a GET belongs to the API "", and HTML pages count nowhere."""
        if reply.code is Code.OK:
            name, verb = _model_and_verb(method, target)
            self._recorder.request_succeeded(name, verb, "REST", seconds)
        elif reply.content_type != b"text/html":
            name, _ = _model_and_verb(method, target)
            self._recorder.request_failed(name, reply.code)

    async def _answer(self, method: str, target: str, headers: Mapping[bytes, bytes], body: bytes) -> RestResponse:
        sampled: SampledRequest | None = None
        try:
            if method != "POST" or (route := self._route(target)) is None:
                return self._answer_other(method, target, headers)
            ref, verb = route
            if ref is None:
                return _NO_VERSION
            if b"gzip" in headers.get(b"content-encoding", b""):
                limit = min(MAX_UNCOMPRESSED_BYTES, max_step_bytes())
                body = await self._threads.run(len(body) * MAX_DEFLATE_RATIO, _gunzip, body, limit)
                charge_memory(len(body))
            if self._request_logs.is_on:
                sampled = self._sampled(ref, verb, body)
            answer = self._predict.answer(ref, body) if verb == "predict" else self._examples.answer(ref, verb, body)
            response = RestResponse(200, await answer)
            if sampled is not None:
                sampled.finish(Code.OK, response.body)
            return response  # noqa: TRY300 - both paths end here
        except ServingError as error:
            if sampled is not None:
                sampled.finish(error.code)
            return error_response(error)
        except Exception as error:  # the outermost handler of bugs: a message instead of a broken connection
            log.exception("Request failed: %s %s", method, target)
            if sampled is not None:
                sampled.finish(Code.INTERNAL)
            return bug_response(error)

    def _sampled(self, ref: ModelRef, verb: str, body: bytes) -> SampledRequest | None:
        """The entry of the request log for a request, None if it is not to be logged."""
        return self._request_logs.sample(
            ref.name,
            lambda: self._service.version_and_signatures(ref),
            prediction_log,
            api=verb.capitalize(),
            protocol="rest",
            body=body,
        )

    def _answer_other(self, method: str, target: str, headers: Mapping[bytes, bytes]) -> RestResponse:
        """Answer a request that does not run a model."""
        if target[:4].lower() != "/v1/":
            return html_page(HTTPStatus.NOT_FOUND)
        if method == "OPTIONS":
            return _preflight(headers)
        if method == "GET" and (match := _MODELS.fullmatch(target)):
            return self._metadata(match) if match["metadata"] == "metadata" else self._status(match)
        if not _URI.fullmatch(target):
            return html_page(HTTPStatus.BAD_REQUEST)
        raise invalid_argument(f"Malformed request: {method} {target}")

    def _status(self, match: re.Match[str]) -> RestResponse:
        ref = _model_ref(match)
        if ref is None:
            return _NO_VERSION
        return RestResponse(200, message_json.status(self._service.status(ref.name, ref.version)))

    def _metadata(self, match: re.Match[str]) -> RestResponse:
        ref = _model_ref(match)
        if ref is None:
            return _NO_VERSION
        servable, definitions = self._service.signature_defs(ref)
        if not servable.metadata_json:
            servable.metadata_json = message_json.metadata(servable.name, servable.version, definitions)
        return RestResponse(200, servable.metadata_json)


Route = tuple["ModelRef | None", str]
"""The model (None if its version is no int64) and the verb of a POST."""


def _parse_route(target: str) -> Route | None:
    """The route of a path; None if a POST to it is malformed."""
    match = _VERBS.fullmatch(target)
    return None if match is None else (_model_ref(match), match["verb"])


_parse_route_once = lru_cache(1024)(_parse_route)


def _cached_route(target: str) -> Route | None:
    return (_parse_route_once if len(target) < _MAX_CACHED_TARGET else _parse_route)(target)


def _model_ref(match: re.Match[str]) -> ModelRef | None:
    """The model of a path; None if its version is no int64, which TensorFlow Serving answers with an empty 400."""
    if match["name"] is None:
        raise invalid_argument("Missing model name in request.")
    version = None if match["version"] is None else int(match["version"].lstrip("0")[:_VERSION_DIGITS] or 0)
    if version is not None and version > MAX_VERSION:
        return None
    label = None if match["label"] is None else _unescape(match["label"])
    return ModelRef(_unescape(match["name"]), version, label)


def _unescape(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")


def _gunzip(body: bytes, limit: int) -> bytes:
    """The decompressed body; empty if it is no complete gzip stream or expands past the limit, as in the real server."""
    try:
        plain, is_whole = decompress(memoryview(body), zlib.MAX_WBITS | 16, limit)
    except zlib.error:
        return b""
    return plain if is_whole else b""


NOT_IMPLEMENTED = html_page(HTTPStatus.NOT_IMPLEMENTED)  # for unknown HTTP methods
_NO_VERSION = RestResponse(400, b"", code=Code.INVALID_ARGUMENT)


def _preflight(headers: Mapping[bytes, bytes]) -> RestResponse:
    """Answer OPTIONS, the preflight request of a browser for a page of another site."""
    from_a_site = re.search(rb"https?://", headers.get(b"origin", b""))
    status, code = (200, Code.OK) if from_a_site else (400, Code.FAILED_PRECONDITION)
    return RestResponse(status, b"", b"text/html; charset=ISO-8859-1", code)


def _model_and_verb(method: str, target: str) -> tuple[str, str]:
    """The model in a request's path and its verb ("predict" and so on, "" for a GET); "" for a missing one."""
    return (_parse_model_and_verb_once if len(target) < _MAX_CACHED_TARGET else _parse_model_and_verb)(method, target)


def _parse_model_and_verb(method: str, target: str) -> tuple[str, str]:
    match = (_VERBS if method == "POST" else _MODELS).fullmatch(target) if method in ("POST", "GET") else None
    if match is None:
        return "", ""
    return _unescape(match["name"] or ""), match["verb"] if method == "POST" else ""


_parse_model_and_verb_once = lru_cache(1024)(_parse_model_and_verb)
