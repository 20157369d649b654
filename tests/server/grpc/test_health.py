"""The standard gRPC health service, tested with its official client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest
from echo_models import echo_model_flags
from grpc_health.v1 import health_pb2, health_pb2_grpc
from model_servers import Served, running_flags

pytestmark = pytest.mark.server

SERVING, UNKNOWN = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.mark.parametrize("service", ["", "ModelService", "PredictionService"])
def test_check_reports_serving(channel: grpc.Channel, service: str) -> None:
    """For the server, and for its services by TensorFlow Serving's names."""
    stub = health_pb2_grpc.HealthStub(channel)

    assert stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=240).status == SERVING


@pytest.mark.parametrize("service", ["tensorflow.serving.PredictionService", "x"])
def test_check_of_an_unknown_service_is_not_found(channel: grpc.Channel, service: str) -> None:
    """Also of a service's full name."""
    with pytest.raises(grpc.RpcError) as refused:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=240)

    assert (refused.value.code(), refused.value.details()) == (grpc.StatusCode.NOT_FOUND, "service name unknown")


@pytest.mark.parametrize(("service", "status"), [("", SERVING), ("PredictionService", SERVING), ("x", UNKNOWN)])
def test_watch_sends_the_status_and_stays_open(channel: grpc.Channel, service: str, status: int) -> None:
    """The status comes at once, and the stream stays open."""
    stub, request = health_pb2_grpc.HealthStub(channel), health_pb2.HealthCheckRequest(service=service)
    watching: Any = stub.Watch(request, timeout=240)

    assert next(watching).status == status
    assert stub.Check(health_pb2.HealthCheckRequest(), timeout=240).status == SERVING
    assert watching.is_active()
    watching.cancel()


def test_a_message_too_large_for_a_stream_is_refused(channel: grpc.Channel) -> None:
    """So that clients of a stream cannot fill the memory."""
    call: grpc.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream("/grpc.health.v1.Health/Watch")
    with pytest.raises(grpc.RpcError) as refused:
        next(call(b"\x00" * (5 * 1024 * 1024), timeout=240))

    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_health_is_off_by_default_and_watchers_do_not_delay_shutdown(tmp_path: Path) -> None:
    """Without the flag the service does not exist. With it, a client that watches does not keep the server alive."""
    flags = echo_model_flags(tmp_path)
    request = health_pb2.HealthCheckRequest()
    with running_flags(flags, tmp_path) as running, _channel(running) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            health_pb2_grpc.HealthStub(channel).Check(request, timeout=240)
        assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED

    with running_flags(
        [*flags, "--enable_grpc_healthcheck_service", "--drain_timeout_seconds=3600"], tmp_path
    ) as running:
        channel = _channel(running)
        watching = health_pb2_grpc.HealthStub(channel).Watch(request)
        assert next(watching).status == SERVING
    channel.close()


def _channel(server: Served) -> grpc.Channel:
    return grpc.insecure_channel(f"{server.host}:{server.grpc_port}")
