"""The embedded engine: our own model server (`tfsctl.server`), run with this Python."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from tfsctl.core import protos
from tfsctl.engines import ports
from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.engines.model_on_disk import ModelOnDisk
from tfsctl.engines.process.local_process import LocalProcess, notes, parent_variable, server_flags


def check() -> str:
    """A name for the server. Raises TfsctlError if TensorFlow is not installed."""
    protos.tensorflow_directory()
    return "tfsctl's own server"


def adapt(spec: LaunchSpec, models: Sequence[ModelOnDisk]) -> tuple[LaunchSpec, list[str]]:  # noqa: ARG001 - Engine
    """The spec unchanged, and notes on options without effect."""
    return spec, notes(spec)


def prepare(spec: LaunchSpec, models: Sequence[ModelOnDisk]) -> None:  # noqa: ARG001 - Engine
    """Raise TfsctlError if TensorFlow is not installed."""
    check()


def command(spec: LaunchSpec) -> list[str]:
    """The command line of the embedded server. Only clients on this machine may change its models."""
    spec = ports.with_free_ports(spec)
    return [sys.executable, "-m", "tfsctl.server", f"--host={spec.host}", "--model_reload=local", *server_flags(spec)]


def start(spec: LaunchSpec, *, detach: bool, environment: Mapping[str, str] | None = None) -> LocalProcess:
    """Start the server, with more environment variables.

    Unless `detach`, it ends when this process ends, even if this process is killed.
    """
    spec = ports.with_free_ports(spec)
    variables = {**(environment or {}), **parent_variable(detach=detach)}
    return LocalProcess(command(spec), spec, engine="embedded", detach=detach, environment=variables)
