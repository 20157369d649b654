"""Start the process of a front, which runs Envoy on the ports and servers of an engine behind it (see `rollout/front`)."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from tfsctl.engines import ports
from tfsctl.engines.launch_spec import EngineName, LaunchSpec
from tfsctl.engines.process.local_process import LocalProcess, parent_variable

MODULE = "tfsctl.rollout.front"  # it reads the spec and the engine from its `discovery_variable`


def start(
    spec: LaunchSpec, engine: EngineName, *, detach: bool, environment: Mapping[str, str] | None = None
) -> LocalProcess:
    """Start the front, with more environment variables. Unless `detach`, it ends when this process ends."""
    argv = [sys.executable, "-m", MODULE]
    variables = {**(environment or {}), **parent_variable(detach=detach)}
    return LocalProcess(argv, ports.with_free_ports(spec), engine=engine, detach=detach, environment=variables)
