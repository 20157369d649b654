"""Classify and regress calls over both transports: converts examples and answers to and from messages or JSON."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tfsctl.core import protos
from tfsctl.core.inference import METHOD_NAMES, Examples, Features, InferenceResult, InferenceTask, ScoredClass
from tfsctl.core.types import ModelRef
from tfsctl.inputs.tf_examples import fill_example

if TYPE_CHECKING:
    from google.protobuf.message import Message

_SERVICE = "/tensorflow.serving.PredictionService"
_RPC = {"classify": "Classify", "regress": "Regress"}

ResponseT = TypeVar("ResponseT")


class GrpcCall(Protocol):
    """Makes one gRPC call."""

    def __call__(self, method: str, request: Message, parse: Callable[[bytes], ResponseT], /) -> ResponseT:
        """Send the request to a method; returns what `parse` makes of the response."""


RestCall = Callable[[str, bytes], Any]  # verb, body -> the document


def over_grpc(
    call: GrpcCall,
    model: ModelRef,
    spec: protos.ModelSpec,
    examples: Examples,
    tasks: Sequence[InferenceTask],
) -> list[InferenceResult]:
    """Send one task as Classify or Regress, several as one MultiInference.

    `spec` names model and version; each request adds its signature.
    """
    if len(tasks) != 1:
        return _multi(call, model, spec, examples, tasks)
    (task,) = tasks
    is_classify = task.method == "classify"
    request = protos.ClassificationRequest() if is_classify else protos.RegressionRequest()
    request.model_spec.CopyFrom(spec)
    request.model_spec.signature_name = task.signature
    _fill_input(request.input, examples)
    method = f"{_SERVICE}/{_RPC[task.method]}"
    response: protos.ClassificationResponse | protos.RegressionResponse
    start = time.perf_counter()
    if is_classify:
        response = call(method, request, protos.ClassificationResponse.FromString)
    else:
        response = call(method, request, protos.RegressionResponse.FromString)
    return [_inference(task, model, response.model_spec, response.result, time.perf_counter() - start)]


def _multi(
    call: GrpcCall,
    model: ModelRef,
    spec: protos.ModelSpec,
    examples: Examples,
    tasks: Sequence[InferenceTask],
) -> list[InferenceResult]:
    request = protos.MultiInferenceRequest()
    for task in tasks:
        added = request.tasks.add(method_name=METHOD_NAMES[task.method])
        added.model_spec.CopyFrom(spec)
        added.model_spec.signature_name = task.signature
    _fill_input(request.input, examples)
    start = time.perf_counter()
    response = call(f"{_SERVICE}/MultiInference", request, protos.MultiInferenceResponse.FromString)
    latency_s = time.perf_counter() - start
    return [
        _inference(task, model, result.model_spec, getattr(result, result.WhichOneof("result")), latency_s)
        for task, result in zip(tasks, response.results, strict=True)
    ]


def answered_version(spec: protos.ModelSpec) -> int | None:
    """The version that answered, from the ModelSpec of a response."""
    return int(spec.version.value) if spec.HasField("version") else None


def _inference(
    task: InferenceTask,
    model: ModelRef,
    spec: protos.ModelSpec,
    result: protos.ClassificationResult | protos.RegressionResult,
    latency_s: float,
) -> InferenceResult:
    version = answered_version(spec)
    if isinstance(result, protos.RegressionResult):
        values = tuple(_shortest(one.value) for one in result.regressions)
        return InferenceResult(task, model.name, version, values=values, latency_s=latency_s)
    classes = tuple(
        tuple(ScoredClass(one.label, _shortest(one.score)) for one in row.classes) for row in result.classifications
    )
    return InferenceResult(task, model.name, version, classes=classes, latency_s=latency_s)


def _shortest(value: float) -> float:
    """A float32 of a message as the float with the fewest digits, as REST returns it."""
    import numpy as np

    return float(str(np.float32(value)))


def _fill_input(message: protos.Input, examples: Examples) -> None:
    if examples.context:
        fill_example(message.example_list_with_context.context, examples.context)
        added = message.example_list_with_context.examples
    else:
        added = message.example_list.examples
    for row in examples.rows:
        fill_example(added.add(), row)


def over_rest(
    call: RestCall, model: ModelRef, examples: Examples, tasks: Sequence[InferenceTask]
) -> list[InferenceResult]:
    """Send one request per task, because the REST API has no MultiInference.

    Raises ValueError for an answer without results.
    """
    return [_over_rest(call, model, examples, task) for task in tasks]


def _over_rest(call: RestCall, model: ModelRef, examples: Examples, task: InferenceTask) -> InferenceResult:
    document: dict[str, Any] = {"signature_name": task.signature, "examples": [_values(row) for row in examples.rows]}
    if examples.context:
        document["context"] = _values(examples.context)
    body = json.dumps(document).encode()
    start = time.perf_counter()
    results = call(task.method, body).get("results")
    latency_s = time.perf_counter() - start
    try:
        if task.method == "regress":
            values = tuple(float(value) for value in results)
            return InferenceResult(task, model.name, model.version, values=values, latency_s=latency_s)
        classes = tuple(tuple(ScoredClass(str(label), float(score)) for label, score in row) for row in results)
    except TypeError as error:
        raise ValueError(f"it holds no results ({error})") from error
    return InferenceResult(task, model.name, model.version, classes=classes, latency_s=latency_s)


def _values(features: Features) -> dict[str, Any]:
    return {name: [_json_value(value) for value in values] for name, values in features.items()}


def _json_value(value: bytes | float) -> object:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        import base64

        return {"b64": base64.b64encode(value).decode()}
