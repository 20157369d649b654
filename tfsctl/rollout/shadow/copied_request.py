"""Requests that Envoy has copied for a shadow, and the parser for them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from google.protobuf.message import DecodeError

from tfsctl.core import dtypes, protos, tensors
from tfsctl.core.types import DEFAULT_SIGNATURE, ModelMetadata
from tfsctl.errors import InvalidInput
from tfsctl.server.grpc.framing import unframe
from tfsctl.server.rest.json import document as json_document
from tfsctl.server.rest.json import tensor as json_tensor
from tfsctl.server.status import ServingError

GRPC_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_GZIP = zlib.MAX_WBITS | 16
_MAX_UNZIPPED = 100 * 1024 * 1024


class NotComparableError(Exception):
    """A copied request that the collector does not send."""


@dataclass(frozen=True, slots=True)
class CopiedRequest:
    """A copied request before parsing: the protocol, the header fields, and the body."""

    is_grpc: bool
    headers: Mapping[bytes, bytes]
    body: bytes


@dataclass(frozen=True, slots=True)
class CopiedCall:
    """A copied predict request after parsing: its inputs, and the names of the outputs to return (empty: all)."""

    inputs: Mapping[str, np.ndarray]
    outputs: tuple[str, ...] = ()


def read_request(
    request: CopiedRequest, model: str, signature: str, metadata: Callable[[], ModelMetadata]
) -> CopiedCall:
    """Parse a predict request for the latest version of a model, and for one signature.

    `metadata` returns the signatures, which the inputs in JSON are converted to.
    Raises NotComparableError for any other request.
    """
    try:
        return _read_grpc(request, model, signature) if request.is_grpc else _read_rest(request, signature, metadata())
    except (ServingError, InvalidInput, DecodeError, zlib.error, KeyError) as error:
        raise NotComparableError(str(error)) from error


def _read_grpc(request: CopiedRequest, model: str, signature: str) -> CopiedCall:
    message = protos.PredictRequest.FromString(unframe(request.headers, request.body))
    spec = message.model_spec
    if spec.name != model or spec.WhichOneof("version_choice") is not None:
        raise NotComparableError("another model, or a version by number or label")
    if (spec.signature_name or DEFAULT_SIGNATURE) != signature:
        raise NotComparableError(f"signature {spec.signature_name}")
    inputs = {name: tensors.from_proto(tensor) for name, tensor in message.inputs.items()}
    return CopiedCall(inputs, tuple(message.output_filter))


def _read_rest(request: CopiedRequest, signature: str, metadata: ModelMetadata) -> CopiedCall:
    body = request.body
    if b"gzip" in request.headers.get(b"content-encoding", b""):
        body = zlib.decompressobj(_GZIP).decompress(body, _MAX_UNZIPPED)
    document = json_document.parse(body)
    if (json_tensor.signature_name(document) or DEFAULT_SIGNATURE) != signature:
        raise NotComparableError("another signature")
    wanted = {spec.name: dtypes.BY_NAME[spec.dtype] for spec in metadata.signatures[signature].inputs}
    inputs, _ = json_tensor.inputs_from_document(document, wanted, body)
    return CopiedCall(inputs)
