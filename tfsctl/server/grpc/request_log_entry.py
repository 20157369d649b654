"""Entries of the request log for gRPC requests: PredictionLog messages from serialized requests and responses."""

from __future__ import annotations

from tfsctl.core import protos
from tfsctl.server.request_log.request_log import SampledRequest

LOGGED_METHODS = ("Predict", "Classify", "Regress", "MultiInference")
_FIELDS = {
    "Predict": "predict_log",
    "Classify": "classify_log",
    "Regress": "regress_log",
    "MultiInference": "multi_inference_log",
}


def prediction_log(entry: SampledRequest) -> protos.PredictionLog:
    """The PredictionLog of a finished call."""
    message = protos.PredictionLog()
    part = getattr(message, _FIELDS[entry.api])
    part.request.ParseFromString(entry.body)
    if entry.response:
        part.response.ParseFromString(entry.response)
    spec = part.request.tasks[0].model_spec if entry.api == "MultiInference" else part.request.model_spec
    message.log_metadata.model_spec.signature_name = spec.signature_name
    return message
