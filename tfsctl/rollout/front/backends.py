"""The two model servers behind a front: embedded servers or containers, which survive if the front is killed."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from tfsctl.clients.grpc import GrpcClient
from tfsctl.clients.rest import RestClient
from tfsctl.core.types import ModelRef
from tfsctl.engines import ports, state_dir
from tfsctl.engines.docker import engine as docker_engine
from tfsctl.engines.docker import inspection
from tfsctl.engines.docker.labels import FRONT_LABEL
from tfsctl.engines.launch_spec import EngineName, LaunchSpec
from tfsctl.engines.model_on_disk import find_configured
from tfsctl.engines.process import embedded
from tfsctl.errors import ProgramFailed, TfsctlError
from tfsctl.programs import subprocesses
from tfsctl.rollout.front import children
from tfsctl.rollout.front.envoy.bootstrap import BACKEND_HOST
from tfsctl.rollout.front.envoy.routes import Slot
from tfsctl.rollout.front.front_files import ContainerRef, FrontState, ProcessRef, SlotState
from tfsctl.serving_config.model_config import ModelConfig, VersionPolicy, model_config_proto
from tfsctl.serving_config.request_logging import logging_from_document

_STATUS_TIMEOUT_S = 1.0
_RELOAD_TIMEOUT_S = 12.0  # the server waits up to 10 s for the files of recordings that end


class Backends:
    """Starts the servers of a front, and tells whether they run."""

    def __init__(self, spec: LaunchSpec, engine: EngineName) -> None:
        self._spec, self._engine = spec, engine
        self._watchers: dict[str, subprocesses.Child] = {}

    def start(self, slot: Slot, state: SlotState) -> ProcessRef | ContainerRef:
        """Start the server of a slot with its versions and recordings. Raises EngineError (DockerError)."""
        spec, (rest_port, grpc_port) = self._spec, state.ports
        config = replace(spec.config, models=self._models(state), rest_port=rest_port, grpc_port=grpc_port, tls=None)
        name = children.child_name(spec.name, slot)
        labels = (*spec.container.labels, f"{FRONT_LABEL}={spec.name}")
        server_spec = replace(
            spec,
            name=name,
            config=config,
            host=BACKEND_HOST,
            container=replace(spec.container, labels=labels),
            front=False,
        )
        if self._engine == "docker":
            container = docker_engine.start(server_spec, detach=True)
            container.detach()
            return ContainerRef(container.container)
        state_dir.write_config_files(config.files(), server=name)
        variables = {variable: value for variable, value in spec.environment if value is not None}
        return children.start_detached(name, embedded.command(server_spec), variables)

    def apply_recordings(self, state: SlotState) -> None:
        """Apply the recordings in the state of a slot to its running server. Returns when ended ones are complete.

        Raises ServerUnreachable if it does not listen yet, RequestRejected if it refuses.
        """
        models = self._models(state)
        with GrpcClient(BACKEND_HOST, state.ports[1], timeout_s=_RELOAD_TIMEOUT_S) as client:
            client.reload_config(model_config_proto(models), about=ModelRef(models[0].name))

    def _models(self, state: SlotState) -> tuple[ModelConfig, ...]:
        """The models of a slot: exactly its versions, with the labels of these, and its recordings."""
        versions = state.versions
        return tuple(
            replace(
                model,
                policy=VersionPolicy(specific=tuple(versions[model.name])),
                labels={label: version for label, version in model.labels.items() if version in versions[model.name]},
                logging=logging_from_document(state.recordings.get(model.name)),
            )
            for model in self._spec.config.models
        )

    def runs(self, server: ProcessRef | ContainerRef | None) -> bool:
        """Whether a server was started and has not ended. Servers of an earlier process of the front count, too."""
        if not isinstance(server, ContainerRef):
            return server is not None and server.runs
        watcher = self._watchers.get(server.container)
        if watcher is not None and watcher.exit_status() is None:
            return True
        found = inspection.inspect([server.container])
        if found is not None and (
            server.container not in found or found[server.container].status != inspection.RUNNING
        ):
            self._watchers.pop(server.container, None)
            return False
        # This program ends when the container does. Polling it is cheap, unlike running `docker inspect`.
        self._watchers[server.container] = subprocesses.Child(["docker", "wait", server.container])
        return True

    def log_tail(self, slot: Slot, server: ProcessRef | ContainerRef | None, lines: int = 20) -> list[str]:
        """The last lines of the log of a server."""
        if not isinstance(server, ContainerRef):
            return children.log_tail(children.child_name(self._spec.name, slot), lines)
        with suppress(ProgramFailed):
            log = subprocesses.run(["docker", "logs", "--tail", str(lines), server.container])
            return [*log.stdout.splitlines(), *log.stderr.splitlines()]
        return []

    def close(self) -> None:
        """Stop watching the containers."""
        for watcher in self._watchers.values():
            watcher.stop()


def is_ready(ports: tuple[int, int], versions: Mapping[str, Sequence[int]]) -> bool:
    """Whether all of these versions are AVAILABLE."""
    with RestClient(BACKEND_HOST, ports[0], timeout_s=_STATUS_TIMEOUT_S) as client:
        try:
            for name, wanted in versions.items():
                available = {one.version for one in client.status(ModelRef(name)) if one.state == "AVAILABLE"}
                if not available.issuperset(wanted):
                    return False
        except TfsctlError:
            return False
    return True


def new_state(spec: LaunchSpec) -> FrontState:
    """The state of a front that has never run: the versions that are on disk now, and free ports.

    Raises what `find_configured` does.
    """
    found = {config.name: find_configured(config) for config in spec.config.models}
    versions = {name: [int(folder.name) for folder in model.folders] for name, model in found.items()}
    slots: dict[Slot, SlotState] = {
        "a": SlotState(ports.free_ports(BACKEND_HOST), versions=versions),
        "b": SlotState(ports.free_ports(BACKEND_HOST)),
    }
    folder = tempfile.mkdtemp(prefix="tfsctl-front-")  # the path of a UNIX socket is at most 107 characters long
    return FrontState(slots, {name: model.version for name, model in found.items()}, folder)
