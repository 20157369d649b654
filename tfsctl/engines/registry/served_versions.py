"""Which versions in a model's directory the running servers serve: they must not be removed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tfsctl.core.types import ModelRef
from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.engines.registry import fleet
from tfsctl.engines.registry.tracked_server import ENDED, GONE, RUNNING, TrackedServer
from tfsctl.errors import TfsctlError

STATUS_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class ServedVersions:
    """The versions that servers serve, load or unload, and the names of servers that could not be asked."""

    versions: frozenset[int]
    unknown: tuple[str, ...] = ()


def served_versions(base: Path) -> ServedVersions:
    """Ask all servers that tfsctl started and that serve models from the directory `base`."""
    versions: set[int] = set()
    unknown: list[str] = []
    for server in fleet.servers():
        if server.state in (ENDED, GONE):
            continue
        for model in _models_in(server, base):
            states = _states(server, model) if server.state == RUNNING else None
            if states is None:
                unknown.append(server.record.name)
            else:
                versions |= states
    return ServedVersions(frozenset(versions), tuple(dict.fromkeys(unknown)))


def _models_in(server: TrackedServer, base: Path) -> list[str]:
    """The names of the models that a server serves from a directory.

    If it is not known where a server reads its models, those are taken that are named like the directory.
    """
    try:
        models = LaunchSpec.from_document(server.launch or {}).config.models
    except (KeyError, TypeError):
        return [name for name in server.record.models if name == base.name]
    return [model.name for model in models if Path(model.base_path).resolve() == base.resolve()]


def _states(server: TrackedServer, model: str) -> set[int] | None:
    """The versions of a model that have not ended; None if the server does not answer."""
    from tfsctl.clients.rest import RestClient

    record = server.record
    try:
        with RestClient(record.host, record.rest_port, timeout_s=STATUS_TIMEOUT_S) as client:
            return {status.version for status in client.status(ModelRef(model)) if status.state != "END"}
    except TfsctlError:
        return None
