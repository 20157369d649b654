"""Which versions in a model's directory servers serve, or need to start again: they must not be removed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tfsctl.core.types import ModelRef
from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.engines.registry import fleet
from tfsctl.engines.registry.tracked_server import ENDED, GONE, RUNNING, TrackedServer
from tfsctl.errors import EngineError, TfsctlError
from tfsctl.serving_config.model_config import ModelConfig

STATUS_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class ServedVersions:
    """The versions that must stay, with the reason for each, and the names of servers that could not be asked.

    `labelled` are the versions with a label that can be moved: one of a server that has not ended.

    - A server serves, loads or unloads it.
    - A label or the version policy of a server names it, also of a server that has ended and can be restarted.
    """

    reasons: Mapping[int, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    labelled: frozenset[int] = frozenset()

    @property
    def versions(self) -> frozenset[int]:
        """The versions that must stay."""
        return frozenset(self.reasons)


def served_versions(base: Path) -> ServedVersions:
    """Ask all servers that tfsctl started and that serve models from the directory `base`."""
    reasons: dict[int, str] = {}
    unknown: list[str] = []
    labelled: set[int] = set()
    for server in fleet.servers():
        name = server.record.name
        for model in models_in(server, base):
            for label, version in model.labels.items():
                reasons[version] = f"the label {label} of the server {name} names it"
                if server.state not in (ENDED, GONE):
                    labelled.add(version)
            for version in model.policy.specific or ():
                reasons.setdefault(version, f"the server {name} is set to serve it")
            if server.state in (ENDED, GONE):
                continue
            states = _states(server, model.name) if server.state == RUNNING else None
            if states is None:
                unknown.append(name)
            for version in states or ():
                reasons.setdefault(version, f"the server {name} serves it")
    return ServedVersions(reasons, tuple(dict.fromkeys(unknown)), frozenset(labelled))


def models_in(server: TrackedServer, base: Path) -> list[ModelConfig]:
    """The models that a server serves from a directory.

    If it is not known where a server reads its models, those are taken that are named like the directory.
    """
    try:
        models = LaunchSpec.of_server(server.record.name, server.launch).config.models
    except EngineError:
        return [ModelConfig(name, str(base)) for name in server.record.models if name == base.name]
    return [model for model in models if Path(model.base_path).resolve() == base.resolve()]


def _states(server: TrackedServer, model: str) -> set[int] | None:
    """The versions of a model that have not ended; None if the server does not answer."""
    from tfsctl.clients.rest import RestClient

    record = server.record
    try:
        with RestClient(record.host, record.rest_port, timeout_s=STATUS_TIMEOUT_S) as client:
            return {status.version for status in client.status(ModelRef(model)) if status.state != "END"}
    except TfsctlError:
        return None
