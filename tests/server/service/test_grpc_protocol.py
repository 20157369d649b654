"""gRPC on real sockets: correct, unusual and hostile calls."""

from __future__ import annotations

import os
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_requests import raw_call
from model_servers import Served
from rest_requests import rest

from tfsctl.core import protos, tensors

pytestmark = pytest.mark.server


PREDICT = "/tensorflow.serving.PredictionService/Predict"
METADATA = "/tensorflow.serving.PredictionService/GetModelMetadata"
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"


def call(channel: grpc.Channel, method: str, request: Any, **options: Any) -> Any:
    """One gRPC call with official messages; the response type follows from the request's."""
    response = getattr(protos, type(request).__name__.replace("Request", "Response"))
    stub: grpc.UnaryUnaryMultiCallable[Any, Any] = channel.unary_unary(
        method, request_serializer=type(request).SerializeToString, response_deserializer=response.FromString
    )
    return stub(request, timeout=240, **options)


def predict_request(array: np.ndarray, *, model: str = "echo", signature: str = "") -> Any:
    """A PredictRequest with one input, `x` or `text`."""
    request = protos.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    request.inputs["text" if array.dtype == object else "x"].CopyFrom(tensors.to_proto(array))
    return request


def test_predict_over_grpc_answers_in_typed_fields(channel: grpc.Channel) -> None:
    """With the version and the signature that answered."""
    response = call(channel, PREDICT, predict_request(np.array([1.5, 2.5], np.float32)))

    assert list(response.outputs["x"].float_val) == [1.5, 2.5]
    assert (response.model_spec.version.value, response.model_spec.signature_name) == (7, "serving_default")


def test_messages_of_a_hundred_megabytes_are_answered(channel: grpc.Channel) -> None:
    """In and out in one call."""
    array = np.arange(25_000_000, dtype=np.float32)

    response = call(channel, PREDICT, predict_request(array))

    assert np.array_equal(tensors.from_proto(response.outputs["x"]), array)


def test_compressed_messages_are_accepted(channel: grpc.Channel) -> None:
    request = predict_request(np.zeros(10_000, np.float32))
    for compression in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        assert len(call(channel, PREDICT, request, compression=compression).outputs["x"].float_val) == 10_000


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"name": "nope"}, "NOT_FOUND", "Servable not found for request: Latest(nope)"),
        ({"name": ""}, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ({"version": {"value": 5}}, "NOT_FOUND", "Servable not found for request: Specific(echo, 5)"),
        ({"version_label": "é"}, "INVALID_ARGUMENT", "Unrecognized servable version label: é"),
        ({"signature_name": "zz"}, "FAILED_PRECONDITION", 'Serving signature key "zz" not found.'),
    ],
)
def test_grpc_errors_are_those_of_the_real_server(
    channel: grpc.Channel, change: dict[str, Any], code: str, message: str
) -> None:
    """Code and message, UTF-8 included."""
    request = predict_request(np.zeros(1, np.float32))
    request.model_spec.MergeFrom(protos.ModelSpec(**change))
    if change.get("name") == "":
        request.model_spec.ClearField("name")

    with pytest.raises(grpc.RpcError) as refused:
        call(channel, PREDICT, request)

    assert (refused.value.code().name, refused.value.details()) == (code, message)


def test_inputs_that_do_not_match_the_signature_are_refused(channel: grpc.Channel) -> None:
    """Names and dtypes are compared with the signature. A tensor that cannot be parsed is refused as well."""
    message = {}
    for case, request in {
        "missing": protos.PredictRequest(model_spec={"name": "echo"}),
        "dtype": predict_request(np.zeros(1, np.int64)),
        "tensor": predict_request(np.zeros(1, np.float32)),
    }.items():
        if case == "tensor":
            request.inputs["x"].dtype = 0
        with pytest.raises(grpc.RpcError) as refused:
            call(channel, PREDICT, request)
        message[case] = refused.value.details()

    assert message == {
        "missing": "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. "
        "Missing but required: {x}.",
        "dtype": "Expects arg[0] to be float but int64 is provided",
        "tensor": "tensor parsing error: x",
    }


def test_long_error_messages_are_truncated(channel: grpc.Channel) -> None:
    """After 1024 characters, so that they fit a header."""
    with pytest.raises(grpc.RpcError) as refused:
        call(channel, PREDICT, predict_request(np.zeros(1, np.float32), signature="z" * 2000))

    details = refused.value.details() or ""
    assert (len(details), details[-12:]) == (1024 + 12, "...TRUNCATED")


def test_unknown_methods_are_unimplemented(channel: grpc.Channel) -> None:
    """With no message."""
    with pytest.raises(grpc.RpcError) as refused:
        raw_call(channel, "/tensorflow.serving.PredictionService/Nope")(b"", timeout=240)

    assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.UNIMPLEMENTED, "")


def test_invalid_messages_get_a_status(channel: grpc.Channel) -> None:
    """And the connection stays open."""
    stub = raw_call(channel, PREDICT)
    for raw in (b"\xff\xff\xff", os.urandom(1000)):
        with pytest.raises(grpc.RpcError) as refused:
            stub(raw, timeout=240)
        assert refused.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT)

    assert call(channel, PREDICT, predict_request(np.ones(1, np.float32))).outputs["x"].float_val[0] == 1


def test_a_call_past_its_deadline_is_ended(server: Served, channel: grpc.Channel) -> None:
    """With DEADLINE_EXCEEDED, and the server is free again."""
    request = predict_request(np.ones(1, np.float32), model="slow")
    stub = channel.unary_unary(PREDICT, protos.PredictRequest.SerializeToString, protos.PredictResponse.FromString)
    with pytest.raises(grpc.RpcError) as refused:
        stub(request, timeout=0.2)

    assert refused.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert rest(server, "GET", "/v1/models/slow")[0] == 200


def test_metadata_and_status_over_grpc(channel: grpc.Channel) -> None:
    """The SignatureDefMap in an Any, and the states of the versions."""
    metadata = call(
        channel,
        METADATA,
        protos.GetModelMetadataRequest(model_spec={"name": "echo"}, metadata_field=["signature_def"]),
    )
    signatures = protos.SignatureDefMap()
    assert metadata.metadata["signature_def"].Unpack(signatures)
    assert "text" in signatures.signature_def

    status = call(channel, STATUS, protos.GetModelStatusRequest(model_spec={"name": "echo"}))
    assert [(v.version, v.state) for v in status.model_version_status] == [
        (7, protos.ModelVersionStatus.State.Value("AVAILABLE"))
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["nope"], "Metadata field nope is not supported"),
    ],
)
def test_signature_def_is_the_only_metadata_field(channel: grpc.Channel, fields: list[str], message: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        call(channel, METADATA, protos.GetModelMetadataRequest(model_spec={"name": "echo"}, metadata_field=fields))

    assert refused.value.details() == message
