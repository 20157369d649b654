"""Creates the client for a transport; httpx and grpcio are imported only when they are needed."""

from __future__ import annotations

from tfsctl.clients.connection import DEFAULT_CONNECTION, DEFAULT_TIMEOUT_S, Connection, Transport
from tfsctl.clients.serving_client import ServingClient


def open_client(
    transport: Transport,
    host: str,
    port: int,
    *,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    connection: Connection = DEFAULT_CONNECTION,
) -> ServingClient:
    """A client for the server at an address. Nothing is sent before its first call.

    `host` may be `unix:PATH`; then `port` is ignored. Raises InvalidInput for an option the transport does not support.
    """
    if transport == "rest":
        from tfsctl.clients.rest import RestClient

        return RestClient(host, port, timeout_s=timeout_s, connection=connection)
    from tfsctl.clients.grpc import GrpcClient

    return GrpcClient(host, port, timeout_s=timeout_s, connection=connection)
