"""Reads --monitoring_config_file: whether there is a metrics page for Prometheus, and its path."""

from __future__ import annotations

from tfsctl.server.config.config_files import read_config_file
from tfsctl.server.status import invalid_argument
from tfsctl.serving_config import messages

DEFAULT_PATH = "/monitoring/prometheus/metrics"


def prometheus_path(config_file: str) -> str:
    """The path of the metrics page, "" for none. Raises NOT_FOUND or INVALID_ARGUMENT like the real server."""
    if not config_file:
        return ""
    config = read_config_file(config_file, messages.MonitoringConfig()).prometheus_config
    path: str = config.path or DEFAULT_PATH
    if not path.startswith("/"):
        raise invalid_argument(f"The path of prometheus_config in {config_file} does not start with /: {path}")
    return path if config.enable else ""
