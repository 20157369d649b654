"""Entries of the request log for REST requests: PredictionLog messages from JSON bodies and JSON responses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tfsctl.core import dtypes, json_tensors, protos, tensors
from tfsctl.core.dtypes import DType
from tfsctl.core.types import DEFAULT_SIGNATURE, Json, TensorSpec
from tfsctl.server.request_log.request_log import SampledRequest
from tfsctl.server.rest.json import document as json_document
from tfsctl.server.rest.json import example as json_example
from tfsctl.server.rest.json import numbers as json_numbers
from tfsctl.server.rest.json import tensor as json_tensor


def prediction_log(entry: SampledRequest) -> protos.PredictionLog:
    """The PredictionLog of a finished request, as a gRPC client would have sent it."""
    message = protos.PredictionLog()
    if entry.api == "Predict":
        signature = _fill_predict(message.predict_log, entry)
    elif entry.api == "Classify":
        signature = _fill_examples(message.classify_log.request, entry)
        _fill_classes(message.classify_log.response, entry)
    else:
        signature = _fill_examples(message.regress_log.request, entry)
        _fill_values(message.regress_log.response, entry)
    message.log_metadata.model_spec.signature_name = signature
    return message


def _fill_predict(log: protos.PredictLog, entry: SampledRequest) -> str:
    """Write the request, and the response if there is one. Returns the name of the signature."""
    definitions = entry.definitions or {}

    def dtypes_of(signature: str) -> Mapping[str, DType]:
        definition = definitions[signature or DEFAULT_SIGNATURE]
        return _dtypes(definition.inputs)

    read = json_numbers.number_inputs(entry.body, dtypes_of)
    if read is None:
        document = json_document.parse(entry.body)
        signature = json_tensor.signature_name(document)
        inputs, _ = json_tensor.inputs_from_document(document, dtypes_of(signature), entry.body)
    else:
        signature, inputs, _ = read
    signature = signature or DEFAULT_SIGNATURE
    log.request.model_spec.name = entry.model
    log.request.model_spec.signature_name = signature
    for alias, array in inputs.items():
        tensors.fill_proto(log.request.inputs[alias], array)
    if entry.response:
        _fill_predict_response(log.response, entry, signature, _dtypes(definitions[signature].outputs))
    return signature


def _fill_predict_response(
    response: protos.PredictResponse, entry: SampledRequest, signature: str, output_dtypes: Mapping[str, DType]
) -> None:
    response.model_spec.name = entry.model
    response.model_spec.version.value = entry.version or 0
    response.model_spec.signature_name = signature
    for alias, value in _output_values(json.loads(entry.response), list(output_dtypes)).items():
        array = json_tensors.from_json(value, TensorSpec(alias, output_dtypes[alias].name, None), is_answer=True)
        tensors.fill_proto(response.outputs[alias], array)


def _dtypes(infos: Mapping[str, Any]) -> dict[str, DType]:
    """The dtypes of TensorInfo messages by alias; those without values in JSON are skipped."""
    found = {alias: dtypes.BY_NUMBER.get(infos[alias].dtype) for alias in sorted(infos)}
    return {alias: dtype for alias, dtype in found.items() if dtype is not None}


def _output_values(document: Json, aliases: list[str]) -> dict[str, Json]:
    """The value of each output in a predict response, in row or column form."""
    if "predictions" in document:
        rows = document["predictions"]
        if len(aliases) == 1:
            return {aliases[0]: rows}
        return {alias: [row[alias] for row in rows] for alias in aliases}
    outputs = document["outputs"]
    return {aliases[0]: outputs} if len(aliases) == 1 else outputs


def _fill_examples(request: protos.ClassificationRequest | protos.RegressionRequest, entry: SampledRequest) -> str:
    """Write the request of a classify or regress call. Returns the name of the signature."""
    document = json_document.parse(entry.body)
    signature = json_tensor.signature_name(document) or DEFAULT_SIGNATURE
    request.model_spec.name = entry.model
    request.model_spec.signature_name = signature
    request.input.CopyFrom(json_example.input_from_document(document))
    return signature


def _fill_classes(response: protos.ClassificationResponse, entry: SampledRequest) -> None:
    for row in json.loads(entry.response or b'{"results": []}')["results"]:
        classes = response.result.classifications.add().classes
        for label, score in row:
            classes.add(label=label, score=score)


def _fill_values(response: protos.RegressionResponse, entry: SampledRequest) -> None:
    for value in json.loads(entry.response or b'{"results": []}')["results"]:
        response.result.regressions.add(value=value)
