"""The routes that Envoy receives: what is split, and what always goes to one server."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest

from tfsctl.rollout.front.envoy.routes import Canary, Mirror, Routing, route_document

CANARY = Canary("my model", 2, "b", 12.5, "user-id")


def target(routing: Routing, path: str, *, version: str | None = None, protocol: Any = "rest") -> Any:
    """The first route that matches, as Envoy chooses it: a cluster, the weights of clusters, or a status."""
    (resource,) = route_document(routing, protocol, 1)["resources"]
    for route in resource["virtual_hosts"][0]["routes"]:
        match = route["match"]
        header = match.get("headers")
        if header and (version is None or header[0].get("string_match", {"exact": version})["exact"] != version):
            continue
        pattern = match.get("safe_regex", {}).get("regex") or re.escape(match.get("prefix", "")) + ".*"
        if match.get("path", path) == path and re.fullmatch(pattern, path):
            if "direct_response" in route:
                return route["direct_response"]["status"]
            chosen = route["route"]
            clusters = chosen.get("weighted_clusters", {}).get("clusters", ())
            return chosen.get("cluster") or {one["name"]: one["weight"] for one in clusters}
    return None


@pytest.mark.parametrize("name", ["my model", "my%20model"])
def test_predictions_without_a_version_are_split(name: str) -> None:
    """The name of the model may be quoted. The canary is first, so that a larger percentage moves users only to it."""
    routing = Routing("a", {"my model": 1}, CANARY)

    assert target(routing, f"/v1/models/{name}:predict") == {"b_rest_split": 1250, "a_rest_split": 8750}
    assert target(routing, f"/v1/models/{name}/versions/2:predict") == "b_rest_direct"
    assert target(routing, f"/v1/models/{name}/versions/1:predict") == "a_rest_direct"
    assert target(routing, f"/v1/models/{name}/versions/22:predict") == "a_rest_direct"
    assert target(routing, f"/v1/models/{name}/metadata") == "a_rest_direct"


@pytest.mark.parametrize(("version", "chosen"), [("1", "a_rest_direct"), ("2", "b_rest_direct"), ("3", 404)])
def test_a_header_forces_a_version(version: str, chosen: Any) -> None:
    """A version that is not served is an error, not another version."""
    routing = Routing("a", {"my model": 1}, CANARY)

    assert target(routing, "/v1/models/my model:predict", version=version) == chosen


def test_grpc_is_split_by_method() -> None:
    """Metadata comes from the stable server, because clients then ask for exactly that version."""
    routing = Routing("b", {"my model": 1}, Canary("my model", 2, "a", 100))
    service = "/tensorflow.serving.PredictionService"

    assert target(routing, f"{service}/Predict", protocol="grpc") == {"a_grpc_split": 10000}
    assert target(routing, f"{service}/GetModelMetadata", protocol="grpc") == "b_grpc_direct"
    assert target(routing, "/tensorflow.serving.ModelService/HandleReloadConfigRequest", protocol="grpc") == 403


def test_other_models_are_not_split() -> None:
    """Only the model that is rolled out has a canary."""
    routing = Routing("a", {"my model": 1, "other": 5}, CANARY)

    assert target(routing, "/v1/models/other:predict") == "a_rest_direct"
    assert target(routing, "/v1/models/other:predict", version="2") == 404
    assert target(routing, "/v1/models/other/versions/2:predict") == "a_rest_direct"


@pytest.mark.parametrize("canary", [None, CANARY])
@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_only_predictions_of_the_latest_version_are_copied(protocol: Any, canary: Canary | None) -> None:
    """With and without a canary; the share is a fraction of a million."""
    routing = Routing("a", {"other": 1, "my model": 1}, canary, Mirror("my model", 0.025))
    (resource,) = route_document(routing, protocol, 1)["resources"]
    copied = [
        (one["match"], one["route"]["request_mirror_policies"])
        for one in resource["virtual_hosts"][0]["routes"]
        if "request_mirror_policies" in one.get("route", {})
    ]
    path = "/tensorflow.serving.PredictionService/Predict" if protocol == "grpc" else "/v1/models/my model:predict"
    ((match, (policy,)),) = copied

    assert re.fullmatch(match["safe_regex"]["regex"], path)
    assert not re.fullmatch(match["safe_regex"]["regex"], "/v1/models/my model/versions/1:predict")
    assert not re.fullmatch(match["safe_regex"]["regex"], "/v1/models/other:predict")
    assert policy["cluster"] == f"shadow_{protocol}"
    assert policy["runtime_fraction"]["default_value"] == {"numerator": 25_000, "denominator": "MILLION"}
    routed = target(routing, path, protocol=protocol)
    assert routed == target(replace(routing, mirror=None), path, protocol=protocol)
