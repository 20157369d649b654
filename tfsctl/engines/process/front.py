"""Start the process of a front, which runs Envoy on the ports and servers of an engine behind it (see `rollout/front`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from tfsctl.engines.launch_spec import EngineName, LaunchSpec
from tfsctl.engines.process.local_process import LocalProcess, with_concrete_ports

MODULE = "tfsctl.rollout.front"  # it reads the spec and the engine from the variable that marks it


def start(
    spec: LaunchSpec, engine: EngineName, *, detach: bool, environment: Mapping[str, str] | None = None
) -> LocalProcess:
    """Start the front, with more environment variables. Unless `detach`, it ends when this process ends."""
    parent = {} if detach else {"TFSCTL_PARENT_PID": str(os.getpid())}
    argv = [sys.executable, "-m", MODULE]
    variables = {**(environment or {}), **parent}
    return LocalProcess(argv, with_concrete_ports(spec), engine=engine, detach=detach, environment=variables)
