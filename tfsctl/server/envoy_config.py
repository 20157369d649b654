"""Envoy's configuration: its listeners around the one ASGI application (pyvoy), and nothing else open.

Every listener that holds an application holds one of its own. There must be one only, so where gRPC is over TLS and REST
is not, a second listener takes TLS off and hands the bytes to the first one through a private UNIX socket.
Fields: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/bootstrap/v3/bootstrap.proto
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tfsctl.server.addresses import ALL_IPV6, ip_address
from tfsctl.server.envoy_guards import limit_connections, refuse_undecodable_paths
from tfsctl.server.flags import Flags
from tfsctl.server.status import invalid_argument
from tfsctl.server.tls import PROTOCOLS, Credentials

log = logging.getLogger(__name__)

KEY_VARIABLE = "TFSCTL_SERVER_KEY"  # a command line can be read by everyone on the machine, an environment cannot
MAX_STREAMS = 4096
_WINDOW_BYTES = 16 * 1024 * 1024  # HTTP/2 flow control: a large tensor should not wait for window updates
_TYPES = "type.googleapis.com/envoy.extensions."
_PLAIN = "plain"  # the cluster that is the first listener
_MANY = 1_000_000

Json = dict[str, Any]


def envoy_config(application: str, flags: Flags, credentials: Credentials | None, directory: str) -> Json:
    """The bootstrap. `directory` is private to this server, and used only with credentials."""
    from pyvoy import PyvoyServer

    config: Json = PyvoyServer(application, lifespan=True).get_envoy_config()
    config.pop("admin", None)  # it could stop the server for anyone on this machine
    limit_connections(config, over_tls=credentials is not None)
    resources = config["static_resources"]
    (listener,) = resources["listeners"]
    (chain,) = listener["filter_chains"]
    for filter_ in chain["filters"]:
        _set_http_options(filter_["typed_config"], channel_arguments(flags.grpc_channel_arguments))
        refuse_undecodable_paths(filter_["typed_config"])
    grpc = [_pipe(os.path.abspath(flags.grpc_socket_path))] if flags.grpc_socket_path else []
    host = ip_address(flags.host)
    grpc += [_port(host, flags.port)] if flags.port else []
    rest = [_port(host, flags.rest_api_port)] if flags.rest_api_port else []
    if credentials is None:
        _listen(listener, grpc + rest)
    elif not rest or flags.rest_api_enable_ssl:
        chain["transport_socket"] = _transport(credentials, directory)
        _listen(listener, grpc + rest)
    else:
        private = _pipe(os.path.join(directory, "grpc"), mode=0o600)
        _listen(listener, [*rest, private])
        resources["listeners"].append(_tls_listener(grpc, _transport(credentials, directory)))
        resources["clusters"] = [_cluster(private)]
    return config


def channel_arguments(text: str) -> dict[str, str]:
    """--grpc_channel_arguments as a mapping. Raises INVALID_ARGUMENT for what is not name=value,name=value."""
    pairs = [argument.partition("=") for argument in text.split(",") if argument]
    for name, equals, value in pairs:
        if not equals or (name in _CHANNEL_ARGUMENTS and not value.isdecimal()):
            raise invalid_argument(f"--grpc_channel_arguments: {name}{equals}{value} is not name=number")
    return {name: value for name, _, value in pairs}


_CHANNEL_ARGUMENTS = {
    "grpc.max_connection_age_ms": ("common_http_protocol_options", "max_connection_duration"),
    "grpc.max_connection_idle_ms": ("common_http_protocol_options", "idle_timeout"),
    "grpc.keepalive_time_ms": ("http2_protocol_options", "connection_keepalive", "interval"),
    "grpc.keepalive_timeout_ms": ("http2_protocol_options", "connection_keepalive", "timeout"),
    "grpc.max_concurrent_streams": ("http2_protocol_options", "max_concurrent_streams"),
}


def _set_http_options(manager: Json, arguments: Mapping[str, str]) -> None:
    """Let HTTP be what the real server takes: HTTP/1.0 and any method (it answers them), large windows."""
    manager["server_header_transformation"] = "PASS_THROUGH"  # and the application sends none
    manager["http_protocol_options"] = {
        "accept_http_10": True,
        "default_host_for_http_10": "localhost",
        "allow_custom_methods": True,
    }
    manager["http2_protocol_options"] = {
        "max_concurrent_streams": MAX_STREAMS,
        "initial_stream_window_size": _WINDOW_BYTES,
        "initial_connection_window_size": _WINDOW_BYTES,
    }
    for name, value in arguments.items():
        if name not in _CHANNEL_ARGUMENTS:
            log.warning("--grpc_channel_arguments: %s has no effect here", name)
            continue
        *path, last = _CHANNEL_ARGUMENTS[name]
        options = manager
        for key in path:
            options = options.setdefault(key, {})
        options[last] = f"{int(value) / 1000:.3f}s" if name.endswith("_ms") else int(value)
    if keepalive := manager["http2_protocol_options"].get("connection_keepalive"):
        keepalive.setdefault("timeout", "20s")  # gRPC's default


def _port(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port, "ipv4_compat": host == ALL_IPV6}}


def _pipe(path: str, **options: int) -> Json:
    return {"pipe": {"path": path, **options}}


def _listen(listener: Json, addresses: Sequence[Json]) -> None:
    listener["address"], *others = addresses
    listener["additional_addresses"] = [{"address": address} for address in others]
    listener["enable_reuse_port"] = False  # with it, two servers could share a port and nobody would notice


def _transport(credentials: Credentials, directory: str) -> Json:
    common: Json = {
        "alpn_protocols": list(PROTOCOLS),
        "tls_certificates": [
            {
                "certificate_chain": {"inline_string": credentials.certificate},
                "private_key": {"environment_variable": KEY_VARIABLE},
            }
        ],
    }
    if credentials.verifies_clients:
        common["validation_context"] = {"trusted_ca": {"filename": credentials.trusted_file(directory)}}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPES}transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": common,
            "require_client_certificate": credentials.verifies_clients,
        },
    }


def _tls_listener(addresses: Sequence[Json], transport: Json) -> Json:
    proxy = {"@type": f"{_TYPES}filters.network.tcp_proxy.v3.TcpProxy", "stat_prefix": "tls", "cluster": _PLAIN}
    filters = [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]
    listener: Json = {"name": "tls", "filter_chains": [{"filters": filters, "transport_socket": transport}]}
    _listen(listener, addresses)
    return listener


def _cluster(address: Json) -> Json:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {
        "name": _PLAIN,
        "type": "STATIC",
        "load_assignment": {"cluster_name": _PLAIN, "endpoints": endpoints},
        "circuit_breakers": {"thresholds": [{"max_connections": _MANY, "max_pending_requests": _MANY}]},
    }
