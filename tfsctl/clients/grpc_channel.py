"""The channel of the gRPC client: TLS, metadata, proxies, balancing, message sizes."""

from __future__ import annotations

import threading
from typing import Any

import grpc

from tfsctl.clients import addresses, tls
from tfsctl.clients.connection import Connection
from tfsctl.errors import InvalidInput

_UNLIMITED = -1
_MAX_INT = 2**31 - 1  # an option of a channel is a C int


def open_channel(host: str, port: int, connection: Connection) -> grpc.Channel:
    """A channel to one server; it connects with the first call.

    Raises InvalidInput for an option that gRPC does not support.
    """
    if connection.path:
        raise InvalidInput(f"gRPC has no paths: {connection.path}", hint="remove the path from --url")
    address = addresses.format_address(host, port)
    compression = grpc.Compression.Gzip if connection.compression == "gzip" else None
    options = _options(host, connection)
    if connection.tls is None:
        return grpc.insecure_channel(address, options, compression)
    credentials = grpc.ssl_channel_credentials(*tls.read_pem(connection.tls))
    return grpc.secure_channel(address, credentials, options, compression)


def metadata(connection: Connection) -> tuple[tuple[str, str | bytes], ...]:
    """The headers as gRPC metadata: names in lower case; values of names that end in `-bin` as bytes."""
    named = ((header.name.lower(), header.value) for header in connection.headers)
    return tuple((name, value.encode() if name.endswith("-bin") else value) for name, value in named)


def is_connected_within(channel: grpc.Channel, seconds: float) -> bool:
    """Wait until the channel is connected, or cannot connect. Returns False if neither happens within the time."""
    decided = threading.Event()

    def changed(state: grpc.ChannelConnectivity) -> None:
        if state in (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.TRANSIENT_FAILURE):
            decided.set()

    channel.subscribe(changed, try_to_connect=True)
    try:
        return decided.wait(seconds)
    finally:
        channel.unsubscribe(changed)


def _options(host: str, connection: Connection) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        ("grpc.max_receive_message_length", min(connection.max_answer_bytes, _MAX_INT)),
        ("grpc.max_send_message_length", _UNLIMITED),
        # Channels of one process share connections by default, so a forked child would get its parent's.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if connection.proxy is not None:
        options.append(("grpc.http_proxy", connection.proxy))
    elif addresses.is_local(host):
        options.append(("grpc.enable_http_proxy", 0))
    if connection.keepalive_s is not None:
        options.append(("grpc.keepalive_time_ms", round(connection.keepalive_s * 1000)))
        options.append(("grpc.keepalive_permit_without_calls", 1))
        options.append(("grpc.http2.max_pings_without_data", 0))
    if connection.tls is not None and connection.tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", connection.tls.server_name))
    elif host.startswith(addresses.UNIX):
        options.append(("grpc.ssl_target_name_override", "localhost"))  # the name in a certificate for a socket
    if connection.balancing is not None:
        options.append(("grpc.lb_policy_name", connection.balancing))
    return options
