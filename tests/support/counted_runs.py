"""Servers whose runs of the graph are counted, by their metrics page."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

from model_servers import Served
from rest_requests import rest

_PAGE = "/monitoring/prometheus/metrics"


def counting_flags(base: Path, folder: Path) -> list[str]:
    """The flags of a server of a model `m` with a metrics page. Its config file is written to `folder`."""
    monitoring = folder / "monitoring.config"
    monitoring.write_text(f'prometheus_config {{ enable: true path: "{_PAGE}" }}')
    return ["--model_name=m", f"--model_base_path={base}", f"--monitoring_config_file={monitoring}"]


def metric_sum(server: Served, name: str, context: ssl.SSLContext | None = None) -> int:
    """The value of a metric, summed over its labels. Over TLS if there is a context."""
    _, page, _ = rest(server, "GET", _PAGE, context=context)
    return sum(map(int, re.findall(rb"^%b(?:\{[^}]*\})? (\d+)" % name.encode(), page, re.MULTILINE)))


def graph_runs(server: Served) -> int:
    """How many runs of the graph there were so far."""
    return metric_sum(server, ":tensorflow:core:graph_run_time_usecs_histogram_count")
