"""The standard gRPC health service (--enable_grpc_healthcheck_service), with TensorFlow Serving's service names.

Its ports open once the models are available, so a server that answers is serving.
Protocol: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

from __future__ import annotations

import asyncio

from tfsctl.core import protos
from tfsctl.server.grpc.streaming import StreamingCall
from tfsctl.server.status import not_found

SERVICE = "grpc.health.v1.Health"
CHECK, WATCH = f"/{SERVICE}/Check", f"/{SERVICE}/Watch"
_SERVING = ("", "ModelService", "PredictionService")
_REPEAT_S = 120.0  # proxies close streams that are silent for longer


async def check(request: protos.HealthCheckRequest, _deadline_s: float | None) -> protos.HealthCheckResponse:
    """Answer Check. Raises NOT_FOUND for an unknown service."""
    if request.service not in _SERVING:
        raise not_found("service name unknown")
    return protos.HealthCheckResponse(status="SERVING")


async def watch(call: StreamingCall) -> None:
    """Answer Watch: the status of one service now, and again every two minutes, until the client leaves."""
    service = ""
    async for raw in call.messages():
        service = protos.HealthCheckRequest.FromString(raw).service
    status = "SERVING" if service in _SERVING else "SERVICE_UNKNOWN"
    leaving = asyncio.ensure_future(call.until_client_leaves())
    try:
        while not leaving.done():
            await call.send(protos.HealthCheckResponse(status=status).SerializeToString())
            await asyncio.wait([leaving], timeout=_REPEAT_S)
    finally:
        leaving.cancel()
