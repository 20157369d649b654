"""Envoy's configuration, except for the routes: its listeners, the two servers behind it, and the admin socket."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from tfsctl.rollout.experiment import exposure_log
from tfsctl.rollout.front.envoy.routes import PROTOCOLS, Document, Protocol, Slot, cluster, shadow_cluster
from tfsctl.serving_config.serving_config import TlsFiles

BACKEND_HOST = "127.0.0.1"
HISTOGRAM_S = 0.5  # how often Envoy updates its histograms
_UNLIMITED = 1_000_000_000
_LIMITS = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
_SHADOW_REQUESTS, _SHADOW_BUFFER_BYTES = 16, 16 * 1024 * 1024
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@dataclass(frozen=True, slots=True)
class FrontAddresses:
    """Where the front listens, and where each server behind it does: its REST port and its gRPC port.

    `routes` are the files of route discovery; `admin` is the path of the UNIX socket of Envoy's admin interface, and
    `shadow` the path of that of the collector of a shadow.
    `exposures` is the file to which Envoy writes a line for each request of an A/B test.
    With `shared`, another process listens on the ports, and hands them over.
    """

    host: str
    rest_port: int
    grpc_port: int
    slots: Mapping[Slot, tuple[int, int]]
    routes: Mapping[Protocol, str]
    admin: str
    exposures: str
    shadow: str
    tls: TlsFiles | None = None
    shared: bool = False


def bootstrap_document(addresses: FrontAddresses) -> Document:
    """The configuration file that Envoy is started with."""
    clusters = [
        _cluster(cluster(slot, protocol, split=split), port, protocol)
        for slot, ports in addresses.slots.items()
        for protocol, port in zip(PROTOCOLS, ports, strict=True)
        for split in (True, False)
    ]
    return {
        "node": {"id": "tfsctl", "cluster": "tfsctl"},
        "stats_flush_interval": f"{HISTOGRAM_S}s",
        "admin": {"address": {"pipe": {"path": addresses.admin, "mode": 0o600}}},
        "static_resources": {
            "listeners": [
                _listener("rest", addresses, addresses.rest_port),
                _listener("grpc", addresses, addresses.grpc_port),
            ],
            "clusters": [*clusters, *(_shadow_cluster(protocol, addresses.shadow) for protocol in PROTOCOLS)],
        },
    }


def _listener(protocol: Protocol, addresses: FrontAddresses, port: int) -> Document:
    chain: Document = {"filters": [{"name": "http", "typed_config": _http(protocol, addresses)}]}
    if protocol == "grpc" and addresses.tls is not None:
        chain["transport_socket"] = _tls(addresses.tls)
    return {
        "name": protocol,
        "address": {"socket_address": {"address": addresses.host, "port_value": port}},
        "enable_reuse_port": False,  # it would let Envoy share a port that any other program of this user listens on
        # SO_REUSEPORT lets another process take the ports over, or (before the bind) Envoy those of another process.
        "socket_options": [
            {
                "level": socket.SOL_SOCKET,
                "name": socket.SO_REUSEPORT,
                "int_value": 1,
                "state": "STATE_PREBIND" if addresses.shared else "STATE_LISTENING",
            }
        ],
        "filter_chains": [chain],
    }


def _http(protocol: Protocol, addresses: FrontAddresses) -> Document:
    filters = [_filter("router", "router.v3.Router", suppress_envoy_headers=True)]
    if protocol == "grpc":
        filters.insert(0, _filter("grpc_stats", "grpc_stats.v3.FilterConfig", stats_for_all_methods=False))
    return {
        "@type": _type("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": protocol,
        "rds": {
            "route_config_name": protocol,
            "config_source": {"resource_api_version": "V3", "path_config_source": {"path": addresses.routes[protocol]}},
        },
        "http_filters": filters,
        "early_header_mutation_extensions": [_without_header(exposure_log.HEADER)],
        "access_log": [_exposure_log(addresses.exposures)],
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "stream_idle_timeout": "0s",  # a prediction may take long
        "request_headers_timeout": "60s",
        "use_remote_address": True,
        "http_protocol_options": {"accept_http_10": True},
    }


def _without_header(name: str) -> Document:
    """A filter that removes this header from the requests of clients."""
    kind = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
    return {"name": "remove", "typed_config": {"@type": _type(kind), "mutations": [{"remove": name}]}}


def _exposure_log(path: str) -> Document:
    """A log of the requests that the routes mark with the header, which they do during an A/B test."""
    return {
        "name": "exposures",
        "filter": {"header_filter": {"header": {"name": exposure_log.HEADER, "present_match": True}}},
        "typed_config": {
            "@type": _type("envoy.extensions.access_loggers.file.v3.FileAccessLog"),
            "path": path,
            "log_format": {"json_format": exposure_log.LINE_FORMAT},
        },
    }


def _filter(name: str, kind: str, **options: object) -> Document:
    typed = {"@type": _type(f"envoy.extensions.filters.http.{kind}"), **options}
    return {"name": f"envoy.filters.http.{name}", "typed_config": typed}


def _tls(files: TlsFiles) -> Document:
    context: Document = {
        "alpn_protocols": ["h2"],
        "tls_certificates": [
            {"certificate_chain": {"filename": files.certificate}, "private_key": {"filename": files.key}}
        ],
    }
    if files.ca is not None:
        context["validation_context"] = {"trusted_ca": {"filename": files.ca}}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": _type("envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"),
            "common_tls_context": context,
            "require_client_certificate": files.ca is not None,
        },
    }


def _cluster(name: str, port: int, protocol: Protocol) -> Document:
    """One of the servers, without limits of Envoy: the server has its own."""
    address = {"socket_address": {"address": BACKEND_HOST, "port_value": port}}
    return _upstream(name, address, protocol, dict.fromkeys(_LIMITS, _UNLIMITED))


def _shadow_cluster(protocol: Protocol, path: str) -> Document:
    """The collector of a shadow. If it hangs, Envoy must neither wait for it nor hold much memory for it.

    Envoy sends a body to the server and to the collector at the same time, and reads no more of it while the buffer of
    one of them is full. So the buffer is larger than most bodies, and the number of copies is small.
    """
    limits = dict.fromkeys(_LIMITS, _SHADOW_REQUESTS)
    upstream = _upstream(shadow_cluster(protocol), {"pipe": {"path": path}}, protocol, limits)
    return {**upstream, "per_connection_buffer_limit_bytes": _SHADOW_BUFFER_BYTES}


def _upstream(name: str, address: Document, protocol: Protocol, limits: Mapping[str, int]) -> Document:
    version: Document = {"http2_protocol_options": {}} if protocol == "grpc" else {"http_protocol_options": {}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {"@type": _type(_HTTP_OPTIONS), "explicit_http_config": version}
        },
    }


def _type(name: str) -> str:
    return f"type.googleapis.com/{name}"
