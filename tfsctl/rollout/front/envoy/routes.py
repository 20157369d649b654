"""Envoy's routes: which of the two servers receives a request, as documents of its file-based route discovery (RDS).

Only predict, classify and regress requests without a version or label are split. All others go to the stable server,
except requests for exactly the canary's version, which go to the canary server.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from tfsctl.rollout.experiment import exposure_log

Slot = Literal["a", "b"]
Protocol = Literal["rest", "grpc"]
PROTOCOLS: tuple[Protocol, ...] = ("rest", "grpc")
SLOTS: tuple[Slot, ...] = ("a", "b")
Document = dict[str, Any]

VERSION_HEADER = "x-tfsctl-version"
WEIGHTS = 10_000  # the sum of the weights of a split
_RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"
_SPLIT_CALLS = r"/tensorflow\.serving\.PredictionService/(Predict|Classify|Regress|MultiInference)"


@dataclass(frozen=True, slots=True)
class Canary:
    """The version that receives `percent` of the requests for `model`, on the server in `slot`.

    Requests with the same value of the header `sticky` go to the same version. `experiment` is the id of an A/B test:
    Envoy then logs each split request with its `sticky` value.
    """

    model: str
    version: int
    slot: Slot
    percent: float
    sticky: str | None = None
    experiment: str | None = None


@dataclass(frozen=True, slots=True)
class Mirror:
    """The share `sample` of the predictions of a model whose requests are copied to the collector of a shadow."""

    model: str
    sample: float


@dataclass(frozen=True, slots=True)
class Routing:
    """The slot of the stable server, the version of each model that it answers with, and the canary if there is one.

    `mirror`: what is copied to a shadow; None if nothing is.
    """

    stable_slot: Slot
    versions: Mapping[str, int]
    canary: Canary | None = None
    mirror: Mirror | None = None


def cluster(slot: Slot, protocol: Protocol, *, split: bool) -> str:
    """The name of a cluster. Split requests have clusters of their own, so that statistics count only these."""
    return f"{slot}_{protocol}_{'split' if split else 'direct'}"


def shadow_cluster(protocol: Protocol) -> str:
    """The name of the cluster of the collector of a shadow."""
    return f"shadow_{protocol}"


def route_document(routing: Routing, protocol: Protocol, generation: int) -> Document:
    """The file that Envoy reads the routes of a protocol from. `generation` becomes its version."""
    routes = _rest_routes(routing) if protocol == "rest" else _grpc_routes(routing)
    return {
        "version_info": str(generation),
        "resources": [
            {
                "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
                "name": protocol,
                "virtual_hosts": [{"name": protocol, "domains": ["*"], "routes": routes}],
            }
        ],
    }


def _rest_routes(routing: Routing) -> list[Document]:
    routes: list[Document] = []
    canary = routing.canary
    for model, stable in routing.versions.items():
        path = f"/v1/models/{_model_pattern(model)}"
        of_model = _matching(path + "([:/].*)?")
        own = canary if canary is not None and canary.model == model else None
        mirror = routing.mirror if routing.mirror is not None and routing.mirror.model == model else None
        routes += _version_header_routes(routing, own, stable, of_model, "rest")
        if own is not None:
            target = _direct(own.slot, "rest", own.version)
            routes.append({"match": _matching(f"{path}/versions/{own.version}([:/].*)?"), **target})
            split = _mirrored(_split(routing, own, "rest"), mirror, "rest")
            routes.append({"match": _matching(f"{path}:(predict|classify|regress)"), **split})
        elif mirror is not None:
            target = _mirrored(_direct(routing.stable_slot, "rest", stable), mirror, "rest")
            routes.append({"match": _matching(f"{path}:predict"), **target})
        at_version = f"{path}/versions/{stable}([:/].*)?"
        routes.append({"match": _matching(at_version), **_direct(routing.stable_slot, "rest", stable)})
        routes.append({"match": _matching(f"{path}/versions/.*"), **_direct(routing.stable_slot, "rest", None)})
        routes.append({"match": of_model, **_direct(routing.stable_slot, "rest", stable)})
    return [*routes, {"match": {"prefix": "/"}, **_direct(routing.stable_slot, "rest", None)}]


def _grpc_routes(routing: Routing) -> list[Document]:
    refused = "the front refuses reloads: tfsctl canary changes versions"
    routes: list[Document] = [
        {"match": {"path": _RELOAD}, "direct_response": {"status": 403, "body": {"inline_string": refused}}}
    ]
    canary = routing.canary
    # The model of a gRPC request is in its body, which routes cannot match. With several models, answers of the stable
    # server have no version header.
    only = next(iter(routing.versions.values())) if len(routing.versions) == 1 else None
    calls = _matching(_SPLIT_CALLS)
    model = next(iter(routing.versions)) if canary is None else canary.model
    routes += _version_header_routes(routing, canary, routing.versions[model], calls, "grpc")
    target = _direct(routing.stable_slot, "grpc", only) if canary is None else _split(routing, canary, "grpc")
    routes.append({"match": calls, **_mirrored(target, routing.mirror, "grpc")})
    return [*routes, {"match": {"prefix": "/"}, **_direct(routing.stable_slot, "grpc", None)}]


def _version_header_routes(
    routing: Routing, canary: Canary | None, stable: int, match: Document, protocol: Protocol
) -> list[Document]:
    """The routes of requests that name a version in the header."""
    targets = {stable: routing.stable_slot} | ({} if canary is None else {canary.version: canary.slot})
    routes = [
        {
            "match": match | {"headers": [{"name": VERSION_HEADER, "string_match": {"exact": str(version)}}]},
            **_direct(slot, protocol, version),
        }
        for version, slot in targets.items()
    ]
    refusal = f'{{"error": "{VERSION_HEADER}: served versions are {", ".join(map(str, sorted(targets)))}"}}'
    other = match | {"headers": [{"name": VERSION_HEADER, "present_match": True}]}
    return [*routes, {"match": other, "direct_response": {"status": 404, "body": {"inline_string": refusal}}}]


def _direct(slot: Slot, protocol: Protocol, version: int | None) -> Document:
    target: Document = {"route": {"cluster": cluster(slot, protocol, split=False), **_timeout_and_retries()}}
    return target if version is None else target | {"response_headers_to_add": [_version_header(version)]}


def _split(routing: Routing, canary: Canary, protocol: Protocol) -> Document:
    """A target that splits requests by weight. The canary is first: a larger share moves users to it, and none away."""
    to_canary = round(canary.percent / 100 * WEIGHTS)
    arms = [
        (canary.slot, to_canary, canary.version),
        (routing.stable_slot, WEIGHTS - to_canary, routing.versions[canary.model]),
    ]
    weighted: Document = {
        "clusters": [
            {
                "name": cluster(slot, protocol, split=True),
                "weight": weight,
                "response_headers_to_add": [_version_header(version)],
            }
            for slot, weight, version in arms
            if weight > 0
        ]
    }
    route = {"weighted_clusters": weighted, **_timeout_and_retries()}
    if canary.sticky is not None:
        weighted["use_hash_policy"] = True
        route["hash_policy"] = [{"header": {"header_name": canary.sticky}}]
    if canary.experiment is None or canary.sticky is None:
        return {"route": route}
    header = {"key": exposure_log.HEADER, "value": exposure_log.header_value(canary.experiment, canary.sticky)}
    added = {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return {"route": route, "request_headers_to_add": [added]}


def _mirrored(target: Document, mirror: Mirror | None, protocol: Protocol) -> Document:
    """The target with copies of its requests sent to the shadow's collector. Envoy ignores the answers to copies."""
    if mirror is None:
        return target
    fraction = {"default_value": {"numerator": round(mirror.sample * 1_000_000), "denominator": "MILLION"}}
    policy = {"cluster": shadow_cluster(protocol), "runtime_fraction": fraction}
    return {**target, "route": {**target["route"], "request_mirror_policies": [policy]}}


def _timeout_and_retries() -> Document:
    """The timeout and the retries of a route.

    The servers limit the time of requests. A request is retried only if the server received nothing of it.
    """
    return {
        "timeout": "0s",
        "retry_policy": {"retry_on": "connect-failure,refused-stream,reset-before-request", "num_retries": 2},
    }


def _version_header(version: int) -> Document:
    return {
        "header": {"key": VERSION_HEADER, "value": str(version)},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def _matching(path: str) -> Document:
    return {"safe_regex": {"regex": path}}


def _model_pattern(model: str) -> str:
    """A regular expression for the name of a model as it is, and with its special characters quoted for URLs."""
    return "|".join(dict.fromkeys([re.escape(model), re.escape(quote(model, safe=""))])).join(("(", ")"))
