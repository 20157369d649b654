"""Targets of a REPL session."""

from __future__ import annotations

from model_servers import Served

from tfsctl.cli.options.target import Target
from tfsctl.core.types import ModelRef


def target_of(served: Served, model: str) -> Target:
    """A model of the running server, over REST."""
    return Target(ModelRef(model), served.host, served.rest_port, served.grpc_port, "rest", timeout_s=240)
