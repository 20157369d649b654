"""The client of TensorFlow Serving's REST API.

Format: tensorflow_serving/util/json_tensor.h and model_servers/http_rest_api_util.cc. Requests are columnar
(`inputs`), the only format that can hold tensors of every shape.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, cast
from urllib.parse import quote

import httpx

from tfsctl.clients import addresses, json_bodies, rest_connection
from tfsctl.clients.answer_body import BodyTooLarge
from tfsctl.clients.call_errors import answer_too_large, error_for_status, unexpected_answer
from tfsctl.clients.connection import DEFAULT_CONNECTION, DEFAULT_TIMEOUT_S, Connection
from tfsctl.core import dtypes
from tfsctl.core.types import (
    DEFAULT_SIGNATURE,
    Encoding,
    Json,
    ModelMetadata,
    ModelRef,
    Prediction,
    Shape,
    Signature,
    State,
    TensorSpec,
    VersionStatus,
)
from tfsctl.errors import InvalidInput, NotFound, RequestRejected, TfsctlError

if TYPE_CHECKING:
    import numpy as np
    from typing_extensions import Self

    from tfsctl.core.inference import Examples, InferenceResult, InferenceTask

# The inverse of `ToHTTPStatusCode` in tensorflow_serving/model_servers/http_server.cc; 502 is a proxy's answer.
STATUS_OF_HTTP = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}

# Most specific first. An impossible address is UNAVAILABLE, as in gRPC.
STATUS_OF_FAILURE: tuple[tuple[type[Exception], str], ...] = (
    (httpx.TimeoutException, "DEADLINE_EXCEEDED"),
    (httpx.TransportError, "UNAVAILABLE"),
    (httpx.InvalidURL, "UNAVAILABLE"),
    (UnicodeError, "UNAVAILABLE"),  # the name of a proxy that cannot be looked up
    (httpx.HTTPError, "UNKNOWN"),
)

_ERRNO = re.compile(r"^\[Errno -?\d+\] ")


class RestClient:
    """A ServingClient for the REST port of a server.

    Answers do not contain dtypes, so the client fetches the signatures of a model and caches them.
    """

    transport: Literal["rest"] = "rest"

    def __init__(
        self,
        host: str,
        port: int,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        connection: Connection = DEFAULT_CONNECTION,
        wire: httpx.BaseTransport | None = None,
    ) -> None:
        self.address = addresses.format_address(host, port) + connection.path
        self._route = connection.route(self.address)
        self._metadata_cache: dict[ModelRef, ModelMetadata] = {}
        self._destination = (host, port, timeout_s)
        self._connection = connection
        try:
            self._http = rest_connection.open_http(host, port, connection, timeout_s=timeout_s, wire=wire)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise self._failure(error, about=None) from error

    def predict(
        self,
        model: ModelRef,
        inputs: Mapping[str, np.ndarray],
        *,
        signature: str = DEFAULT_SIGNATURE,
        outputs: Sequence[str] = (),
    ) -> Prediction:
        """Run a signature on one batch. Raises as ServingClient documents."""
        body = json_bodies.predict_body(signature, inputs)
        start = time.perf_counter()
        answer = self._run(f"{_path(model)}:predict", about=model, body=body)
        latency_s = time.perf_counter() - start
        if "outputs" not in answer:
            raise self._unexpected_answer(model, 'there is no "outputs" in it')
        arrays = self._decode(model, signature, answer["outputs"])
        if outputs:  # REST has no output_filter
            arrays = {name: array for name, array in arrays.items() if name in outputs}
        return Prediction(arrays, model.name, version=model.version, signature=signature, latency_s=latency_s)

    def infer(self, model: ModelRef, examples: Examples, tasks: Sequence[InferenceTask]) -> list[InferenceResult]:
        """Classify or regress examples with one request per task. Raises as ServingClient documents."""
        from tfsctl.clients import inference_calls

        def call(verb: str, body: bytes) -> dict[str, Any]:
            return self._run(f"{_path(model)}:{verb}", about=model, body=body)

        try:
            return inference_calls.over_rest(call, model, examples, tasks)
        except ValueError as error:
            raise self._unexpected_answer(model, str(error)) from error

    def send_raw(self, model: ModelRef, verb: str, body: bytes) -> tuple[bytes, TfsctlError | None]:
        """Post a body unchanged; returns the body of the answer and, if the server refused the request, the error."""
        path = f"{_path(model)}:{verb}"
        self._capture(path, body)
        response, content = self._send("POST", path, about=model, body=body)
        refused = response.status_code != httpx.codes.OK
        return content, self._refusal(response, json_bodies.parsed_object(content), model) if refused else None

    def metadata(self, model: ModelRef) -> ModelMetadata:
        """Fetch the signatures of a model. Raises as ServingClient documents."""
        answer = self._call("GET", f"{_path(model)}/metadata", about=model)
        try:
            spec, defs = answer["model_spec"], answer["metadata"]["signature_def"]["signature_def"]
            served = ModelMetadata(str(spec["name"]), int(spec["version"]), _signatures(defs))
        except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise self._unexpected_answer(model, f"it is not model metadata ({_problem(error)})") from error
        self._metadata_cache[model] = self._metadata_cache[ModelRef(model.name, version=served.version)] = served
        return served

    def status(self, model: ModelRef) -> tuple[VersionStatus, ...]:
        """Fetch the state of each version, highest version first. Raises as ServingClient documents."""
        answer = self._call("GET", _path(model), about=model)
        try:
            found = [
                VersionStatus(
                    version=int(entry["version"]),
                    state=cast("State", str(entry["state"])),
                    error_code=str(entry["status"]["error_code"]),
                    error_message=str(entry["status"]["error_message"]),
                )
                for entry in answer["model_version_status"]
            ]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise self._unexpected_answer(model, f"it is not a model status ({_problem(error)})") from error
        return tuple(sorted(found, key=lambda status: -status.version))

    def metrics_page(self, path: str, *, about: ModelRef) -> str | None:
        """Fetch the page of metrics for Prometheus; None if the server has none at this path."""
        response, content = self._send("GET", path, about=about)
        return content.decode("utf-8", "replace") if response.status_code == httpx.codes.OK else None

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _capture(self, path: str, body: bytes) -> None:
        if self._connection.capture_requests:
            from tfsctl.clients.captured_request import CapturedRequest, RequestCaptured

            raise RequestCaptured(CapturedRequest("rest", *self._destination, self._connection, path, body))

    def _run(self, path: str, *, about: ModelRef, body: bytes) -> dict[str, Any]:
        """Post a request that runs the model, or raise RequestCaptured if requests are captured."""
        self._capture(path, body)
        return self._call("POST", path, about=about, body=body)

    def _send(
        self, method: str, path: str, *, about: ModelRef, body: bytes | None = None
    ) -> tuple[httpx.Response, bytes]:
        try:
            return rest_connection.send(self._http, method, path, body, connection=self._connection)
        except BodyTooLarge:
            raise answer_too_large(self._connection, address=self._route, about=about) from None
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise self._failure(error, about=about) from error

    def _call(self, method: str, path: str, *, about: ModelRef, body: bytes | None = None) -> dict[str, Any]:
        response, content = self._send(method, path, about=about, body=body)
        answer = json_bodies.parsed_object(content)
        if response.status_code == httpx.codes.OK:
            if answer is not None:
                return answer
            raise self._unexpected_answer(about, "the body is not a valid JSON object")
        raise self._refusal(response, answer, about)

    def _failure(self, error: Exception, *, about: ModelRef | None) -> TfsctlError:
        status = next(status for kind, status in STATUS_OF_FAILURE if isinstance(error, kind))
        words = _ERRNO.sub("", str(error)) or type(error).__name__
        if isinstance(error, httpx.ConnectTimeout):
            words = "no connection within the time limit"
        return error_for_status(status, words, address=self._route, about=about)

    def _refusal(self, response: httpx.Response, answer: dict[str, Any] | None, about: ModelRef) -> TfsctlError:
        status = STATUS_OF_HTTP.get(response.status_code, "UNKNOWN")
        if answer is not None and isinstance(answer.get("error"), str):
            return error_for_status(status, answer["error"], address=self.address, about=about)
        text = f"{response.status_code} {response.reason_phrase}, without a message of TensorFlow Serving"
        if status in ("NOT_FOUND", "UNKNOWN"):  # a web server that knows no such page says nothing about models
            status = "UNIMPLEMENTED"
        return error_for_status(status, text, address=self.address, about=about)

    def _unexpected_answer(self, model: ModelRef, why: str) -> RequestRejected:
        return unexpected_answer(self.transport, why, address=self.address, about=model)

    def _decode(self, model: ModelRef, signature: str, value: object) -> dict[str, np.ndarray]:
        """The outputs as arrays. Fetches the signature if it is not cached, or if the answer does not match it."""
        cached = self._metadata_cache.get(model)
        if cached is not None and signature in cached.signatures:
            try:
                return _read_outputs(cached.signatures[signature], value)
            except (InvalidInput, KeyError, AttributeError):
                pass  # a new version with other outputs may be served now
        current = self.metadata(model).signatures.get(signature)
        if current is None:
            raise NotFound(f"{model} at {self.address} no longer has a signature {signature!r}")
        try:
            return _read_outputs(current, value)
        except (InvalidInput, KeyError, AttributeError) as error:
            raise self._unexpected_answer(
                model, f"the outputs are not those of signature {signature!r} ({error})"
            ) from error


def _path(model: ModelRef) -> str:
    path = f"/v1/models/{quote(model.name, safe='')}"
    if model.version is not None:
        return f"{path}/versions/{model.version}"
    return path if model.label is None else f"{path}/labels/{quote(model.label, safe='')}"


def _read_outputs(signature: Signature, value: Json) -> dict[str, np.ndarray]:
    """The arrays of columnar `outputs`: a bare value for a single output, an object for several."""
    if len(signature.outputs) == 1:
        spec = signature.outputs[0]
        return {spec.name: _read_output(spec, value)}
    if value.keys() != {spec.name for spec in signature.outputs}:
        raise KeyError(f"outputs {sorted(value)}")
    return {spec.name: _read_output(spec, value[spec.name]) for spec in signature.outputs}


def _read_output(spec: TensorSpec, value: object) -> np.ndarray:
    any_shape = replace(spec, shape=None)  # a model may answer with another shape than it declared
    from tfsctl.core import json_tensors

    array = json_tensors.from_json(value, any_shape, is_answer=True)
    if array.size == 0 and spec.shape is not None:  # JSON has one empty list for [0] and [0, 3]
        array = array.reshape(array.shape + tuple(dim or 0 for dim in spec.shape[array.ndim :]))
    return array


def _signatures(defs: Mapping[str, Any]) -> dict[str, Signature]:
    return {
        name: Signature(name, _specs(defs[name]["inputs"]), _specs(defs[name]["outputs"]), defs[name]["method_name"])
        for name in sorted(defs)
        if not name.startswith("__")
    }


def _specs(infos: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    return tuple(_spec(name, infos[name]) for name in sorted(infos))


def _spec(name: str, info: Mapping[str, Any]) -> TensorSpec:
    """One TensorInfo in JSON. TensorFlow Serving omits messages that are not set, such as an unknown shape."""
    encoding: Encoding = "sparse" if "coo_sparse" in info else "dense"
    dtype = str(info["dtype"])
    if "composite_tensor" in info:
        composite = info["composite_tensor"]
        ragged = composite.get("type_spec", {}).get("type_spec_class") == "RAGGED_TENSOR_SPEC"
        encoding = "ragged" if ragged else "composite"
        if dtype == "DT_INVALID" and composite.get("components"):
            dtype = str(composite["components"][0]["dtype"])  # the values are the first component
    shape: Shape | None = None
    if "tensor_shape" in info and not info["tensor_shape"]["unknown_rank"]:
        sizes = [int(dim["size"]) for dim in info["tensor_shape"]["dim"]]
        shape = tuple(None if size < 0 else size for size in sizes)
    return TensorSpec(
        name=name,
        dtype=dtypes.name_of_enum(dtype),
        shape=shape,
        tensor=info["name"] if encoding == "dense" else "",
        encoding=encoding,
    )


def _problem(error: Exception) -> str:
    """What is wrong with the JSON of an answer."""
    return f"it has no key {error}" if isinstance(error, KeyError) else str(error)
