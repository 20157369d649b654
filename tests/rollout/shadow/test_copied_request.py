"""Copied requests: what is read from bodies of both protocols."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from tfsctl.core import protos, tensors
from tfsctl.core.types import ModelMetadata, Signature, TensorSpec
from tfsctl.rollout.shadow.copied_request import CopiedRequest, NotComparableError, read_request
from tfsctl.server.grpc.framing import frame

METADATA = ModelMetadata(
    "m", 1, {"serving_default": Signature("serving_default", (TensorSpec("x", "float32", (None,)),), (), "predict")}
)


def rest(body: bytes, **headers: str) -> CopiedRequest:
    return CopiedRequest(
        False, {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}, body
    )


def grpc(
    model: str = "m", *, version: int | None = None, signature: str = "", outputs: tuple[str, ...] = ()
) -> CopiedRequest:
    message = protos.PredictRequest(output_filter=outputs)
    message.model_spec.name, message.model_spec.signature_name = model, signature
    if version is not None:
        message.model_spec.version.value = version
    message.inputs["x"].CopyFrom(tensors.to_proto(np.array([1.5], np.float32)))
    return CopiedRequest(True, {b"content-type": b"application/grpc"}, frame(message.SerializeToString()))


@pytest.mark.parametrize(
    "request_",
    [
        rest(b'{"instances": [1.5]}'),
        rest(b'{"inputs": {"x": [1.5]}, "signature_name": "serving_default"}'),
        rest(gzip.compress(b'{"instances": [{"x": 1.5}]}'), content_encoding="gzip"),
        grpc(),
        grpc(signature="serving_default"),
    ],
)
def test_requests_become_inputs(request_: CopiedRequest) -> None:
    """The same inputs, with the dtype of the model."""
    call = read_request(request_, "m", "serving_default", lambda: METADATA)

    assert call.inputs["x"].dtype == np.float32
    assert call.inputs["x"].tolist() == [1.5]


def test_the_wanted_outputs_are_kept() -> None:
    """A gRPC client may ask for some outputs only."""
    assert read_request(grpc(outputs=("y",)), "m", "serving_default", lambda: METADATA).outputs == ("y",)


@pytest.mark.parametrize(
    "request_",
    [
        rest(b""),
        rest(b"not json"),
        rest(b'{"instances": ["x"]}'),
        rest(b'{"instances": [1.5], "signature_name": "other"}'),
        rest(b"not gzip", content_encoding="gzip"),
        grpc("another"),
        grpc(version=3),
        grpc(signature="other"),
        CopiedRequest(True, {}, b""),
        CopiedRequest(True, {}, frame(b"\xff\xff")),
    ],
)
def test_other_requests_are_not_compared(request_: CopiedRequest) -> None:
    """Bad bodies, other models and signatures, and versions by number."""
    with pytest.raises(NotComparableError):
        read_request(request_, "m", "serving_default", lambda: METADATA)
