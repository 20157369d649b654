"""Builds the REST and gRPC interfaces over one server core, as the flags say."""

from __future__ import annotations

from dataclasses import dataclass

from tfsctl.server.config.flags import Flags
from tfsctl.server.config.monitoring_config import prometheus_path
from tfsctl.server.grpc import health, reflection, streaming
from tfsctl.server.grpc.api import GrpcApi
from tfsctl.server.lifecycle.server_core import ServerCore
from tfsctl.server.monitoring.recorder import NullRecorder, Recorder
from tfsctl.server.monitoring.serving_metrics import ServingMetrics
from tfsctl.server.request_log.request_logs import RequestLogs
from tfsctl.server.rest import api as rest_api
from tfsctl.server.rest.cors import CrossOrigin
from tfsctl.server.rest.metrics_page import MetricsPage
from tfsctl.server.service.model_service import Service

_SERVICES = ("tensorflow.serving.ModelService", "tensorflow.serving.PredictionService")


@dataclass(frozen=True, slots=True)
class Interfaces:
    """The REST API, the unary methods of gRPC, and the streaming methods of gRPC."""

    rest: rest_api.Api
    grpc: GrpcApi
    streams: streaming.StreamingMethods


def make_recorder(flags: Flags) -> Recorder:
    """The recorder of the server: metrics are kept only if there is a page that shows them."""
    return ServingMetrics() if metrics_path(flags) else NullRecorder()


def metrics_path(flags: Flags) -> str:
    """The path of the metrics page; "" without --monitoring_config_file or without REST, which serves the page."""
    return prometheus_path(flags.monitoring_config_file) if flags.rest_api_port else ""


def make_interfaces(flags: Flags, core: ServerCore, recorder: Recorder, request_logs: RequestLogs) -> Interfaces:
    """Build the interfaces that the flags ask for."""
    service = Service(core, check_method_names=flags.enable_signature_method_name_check, recorder=recorder)
    api: rest_api.Api = rest_api.RestApi(
        service,
        timeout_s=flags.rest_timeout_s,
        cache_requests=not flags.disable_request_optimizations,
        recorder=recorder,
        request_logs=request_logs,
    )
    if flags.rest_api_enable_cors_support:
        api = CrossOrigin(api)
    if isinstance(recorder, ServingMetrics):
        api = MetricsPage(api, metrics_path(flags), recorder.page)
    with_health = flags.enable_grpc_healthcheck_service
    grpc = GrpcApi(
        service,
        as_content=flags.enable_serialization_as_tensor_content,
        cache_requests=not flags.disable_request_optimizations,
        other_methods={health.CHECK: ("HealthCheckRequest", health.check)} if with_health else {},
        recorder=recorder,
        request_logs=request_logs,
    )
    streams: dict[str, streaming.Handler] = {}
    if flags.enable_reflection:
        service_names = (*_SERVICES, health.SERVICE) if with_health else _SERVICES
        streams |= dict.fromkeys(reflection.PATHS, reflection.Reflection(service_names).info)
    if with_health:
        streams[health.WATCH] = health.watch
    idle_timeout_s = flags.stream_idle_timeout_seconds or None
    return Interfaces(api, grpc, streaming.StreamingMethods(streams, idle_timeout_s=idle_timeout_s))
