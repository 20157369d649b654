"""gRPC server reflection, tested with its official client, by both of its names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

pytestmark = pytest.mark.server


def test_all_services_are_listed(channel: grpc.Channel) -> None:
    """All that can be called."""
    assert list(ProtoReflectionDescriptorDatabase(channel).get_services()) == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "tensorflow.serving.ModelService",
        "tensorflow.serving.PredictionService",
    ]


def test_every_listed_service_can_be_described(channel: grpc.Channel) -> None:
    """Its methods, and every message that they use, from nothing but the server's responses."""
    database = ProtoReflectionDescriptorDatabase(channel)
    pool = DescriptorPool(database)
    services = [pool.FindServiceByName(name) for name in database.get_services()]
    methods = {f"{service.name}.{method.name}": method for service in services for method in service.methods}

    assert methods.keys() >= {
        *(f"PredictionService.{name}" for name in ("Predict", "Classify", "Regress", "MultiInference")),
        "PredictionService.GetModelMetadata",
        "ModelService.GetModelStatus",
        "ModelService.HandleReloadConfigRequest",
        "Health.Check",
    }
    request: Any = methods["PredictionService.Predict"].input_type
    assert {"model_spec", "inputs", "output_filter"} <= set(request.fields_by_name)
    inputs = request.fields_by_name["inputs"].message_type
    assert inputs.fields_by_name["value"].message_type.full_name == "tensorflow.TensorProto"


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_requests_on_one_stream_are_answered_in_order(channel: grpc.Channel, version: str) -> None:
    """A file is sent once per stream, and an unknown name is an error response that does not end the stream."""
    ask = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    request = reflection_pb2.ServerReflectionRequest
    questions = [
        request(file_containing_symbol="tensorflow.serving.PredictRequest"),
        request(file_containing_symbol="nope.Nope"),
        request(file_by_filename="nope.proto"),
        request(file_containing_symbol="tensorflow.serving.PredictionService.Predict"),
        request(file_containing_extension={"containing_type": "google.protobuf.MethodOptions", "extension_number": 1}),
        request(all_extension_numbers_of_type="google.protobuf.MethodOptions"),
        request(host="x"),
    ]
    answers = list(ask(iter(questions), timeout=240))

    assert [answer.original_request for answer in answers] == questions
    assert [answer.error_response.error_code for answer in answers] == [0, 5, 5, 0, 5, 0, 3]
    assert answers[1].error_response.error_message == "nope.Nope not found"
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(raw).name
        for answer in answers
        for raw in answer.file_descriptor_response.file_descriptor_proto
    ]
    assert files[0] == "tensorflow_serving/apis/predict.proto"
    assert "tensorflow/core/framework/tensor.proto" in files
    assert len(files) == len(set(files))
    assert answers[5].all_extension_numbers_response.base_type_name == "google.protobuf.MethodOptions"


def test_a_client_may_wait_for_each_response(channel: grpc.Channel) -> None:
    """As grpcurl does."""
    ask = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    seen: list[str] = []

    def questions() -> Iterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(list_services="")
        while not seen:
            pass
        yield reflection_pb2.ServerReflectionRequest(file_containing_symbol=seen[-1])

    answers = ask(questions(), timeout=240)
    seen.append(next(answers).list_services_response.service[-1].name)
    assert next(answers).file_descriptor_response.file_descriptor_proto


def test_an_invalid_request_ends_only_its_call(channel: grpc.Channel) -> None:
    """Bytes that are not a request give a status, and the next call is answered."""
    ask: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
    )
    with pytest.raises(grpc.RpcError) as refused:
        list(ask(iter([b"\xff\xff"]), timeout=240))

    assert (refused.value.code(), refused.value.details()) == (
        grpc.StatusCode.INTERNAL,
        "Failed to parse the request message",
    )
    assert list(ProtoReflectionDescriptorDatabase(channel).get_services())
