"""The metrics page has TensorFlow Serving's metrics: names, types, labels and buckets, so that dashboards work."""

from __future__ import annotations

import re
import urllib.request
from collections import defaultdict
from pathlib import Path

import pytest
from locations import RECORDED
from model_servers import Served
from recorded_servers import running_like

pytestmark = pytest.mark.server

PAGE = "/monitoring/prometheus/metrics"
PREFIX = ":tensorflow:serving:"


def families(page: str) -> dict[str, str]:
    """The type of each metric that has samples."""
    types = dict(re.findall(r"^# TYPE (\S+) (\w+)$", page, re.MULTILINE))
    sampled = {re.sub(r"_(bucket|sum|count)$", "", name) if name not in types else name for name in samples(page)}
    return {name: kind for name, kind in types.items() if name in sampled and name.startswith(PREFIX)}


def samples(page: str) -> dict[str, set[tuple[str, ...]]]:
    """The sets of label names each sample has, by its name."""
    found = defaultdict(set)
    for name, labels in re.findall(r"^(:[\w:]+)(?:\{(.*)\})? ", page, re.MULTILINE):
        found[name].add(tuple(re.findall(r'(\w+)="', labels)))
    return found


def bounds(page: str, metric: str) -> set[str]:
    """The upper bounds of a histogram's buckets."""
    return set(re.findall(rf'^{metric}_bucket\{{.*le="([^"]+)"\}}', page, re.MULTILINE))


def send_request(server: Served, path: str, body: bytes | None = None) -> str:
    """One REST request's answer."""
    url = f"http://{server.host}:{server.rest_port}{path}"
    with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=240) as response:
        text: str = response.read().decode()
        return text


def test_metrics_page_has_the_recorded_names_types_labels_and_buckets(tmp_path: Path) -> None:
    """After requests of each kind every metric that TensorFlow Serving had samples of is there, in its form."""
    recorded = (RECORDED / "prometheus.txt").read_text(encoding="utf-8")
    with running_like("A", tmp_path) as server:
        send_request(server, "/v1/models/half_plus_two:predict", b'{"instances": [1.0]}')
        for verb, signature in ((":classify", "classify_x_to_y"), (":regress", "regress_x_to_y")):
            body = f'{{"signature_name": "{signature}", "examples": [{{"x": 1.0}}]}}'
            send_request(server, f"/v1/models/half_plus_two{verb}", body.encode())
        ours = send_request(server, PAGE)

    assert families(ours).items() >= families(recorded).items()
    wanted, found = samples(recorded), samples(ours)
    assert {name: found[name] for name in wanted if name.startswith(PREFIX)} == {
        name: labels for name, labels in wanted.items() if name.startswith(PREFIX)
    }
    for metric, kind in families(recorded).items():
        if kind == "histogram":
            assert bounds(ours, metric) == bounds(recorded, metric)
