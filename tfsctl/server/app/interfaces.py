"""What clients meet, put together from the flags: REST and gRPC over one core, with what stands around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tfsctl.server.config.flags import Flags
from tfsctl.server.grpc import health, reflection, streaming
from tfsctl.server.grpc.api import GrpcApi
from tfsctl.server.lifecycle.server_core import ServerCore
from tfsctl.server.monitoring.serving_metrics import Monitoring
from tfsctl.server.rest import api as rest_api
from tfsctl.server.rest.cors import CrossOrigin
from tfsctl.server.service.model_service import Service

_SERVICES = ("tensorflow.serving.ModelService", "tensorflow.serving.PredictionService")


@dataclass(frozen=True, slots=True)
class Interfaces:
    """The REST API, the unary methods of gRPC, and its streaming ones."""

    rest: rest_api.Api
    grpc: GrpcApi
    streams: streaming.Streams


def interfaces(flags: Flags, core: ServerCore, monitoring: Monitoring | None) -> Interfaces:
    """Make the interfaces that the flags ask for. What they leave out stands in nobody's way."""
    service = (monitoring.service if monitoring else Service)(
        core, check_method_names=flags.enable_signature_method_name_check
    )
    timeout_ms = flags.rest_api_timeout_in_ms
    api: rest_api.Api = rest_api.RestApi(service, timeout_s=timeout_ms / 1e3 if timeout_ms > 0 else None)
    if flags.rest_api_enable_cors_support:
        api = CrossOrigin(api)
    if monitoring:
        api = monitoring.rest_api(api)
    with_health = flags.enable_grpc_healthcheck_service
    watched: dict[str, Any] = {"watch": monitoring.grpc_call, "counted": monitoring.counted} if monitoring else {}
    grpc = GrpcApi(
        service,
        as_content=flags.enable_serialization_as_tensor_content,
        others={health.CHECK: ("HealthCheckRequest", health.check)} if with_health else {},
        **watched,
    )
    described = reflection.Reflection((*_SERVICES, health.SERVICE) if with_health else _SERVICES)
    streams: dict[str, streaming.Handler] = dict.fromkeys(reflection.PATHS, described.info)
    if with_health:
        streams[health.WATCH] = health.watch
    return Interfaces(api, grpc, streaming.Streams(streams))
