"""Plans for putting a front in front of a running server, and for taking it away, checked before anything is stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.engines.model_on_disk import find_configured
from tfsctl.engines.planning import restarting, serve_plan, server_control
from tfsctl.engines.planning.engine_choice import ENGINES
from tfsctl.engines.planning.serve_plan import ServePlan
from tfsctl.engines.registry import fleet, records
from tfsctl.engines.registry.tracked_server import RUNNING, TrackedServer
from tfsctl.errors import EngineError, InvalidInput, NotFound
from tfsctl.programs import port_handover
from tfsctl.rollout.front import operations
from tfsctl.rollout.front.envoy.program import find_envoy
from tfsctl.serving_config.model_config import ModelConfig, VersionPolicy

Method = Literal["handover", "restart", "second address"]


def find_running(name: str | None) -> TrackedServer:
    """The running server of this name (default: the only one). Writes its record if tfsctl was killed before it did that.

    Raises NotFound if none runs, InvalidInput if several do and none is named, and EngineError if two of this name do
    because tfsctl was killed during a change.
    """
    found = fleet.choose(name, "front")
    name = found[0].record.name
    running = [server for server in found if server.state == RUNNING]
    if not running:
        raise NotFound(f"the server {name} is not running", hint=f"tfsctl restart {name}")
    if len(running) > 1:
        raise EngineError(
            f"two servers named {name} are running, because an earlier change was interrupted",
            hint=f"tfsctl stop {name}, and tfsctl serve PATH again",
        )
    (server,) = running
    if server.launch is not None and records.launch_document(server.record) is None:
        records.replace_server(server.record, launch=server.launch)
    return server


def plan_front(server: TrackedServer, method: Method, ports: tuple[int, int] | None = None) -> ServePlan:
    """The plan of a front for the models of a server. `ports` is the second address: the REST port and the gRPC port.

    Raises EngineError if Envoy is not installed or the command line of the server is unknown, InvalidInput if the server
    has a front, or cannot have one, or not by this method, and what `serve_plan.replan` and `Engine.prepare` raise.
    """
    record = server.record
    if server.is_front:
        raise InvalidInput(
            f"{record.name} already has a front", hint=f"tfsctl front {record.name} --remove takes it away"
        )
    find_envoy()
    spec = replace(_spec(server), front=True)
    serve_plan.check_front(record.engine, spec)
    _check_recordings(record.name, [model.name for model in spec.config.models if model.logging is not None])
    if method == "handover":
        _check_handover(server)
    if ports is not None:
        config = replace(spec.config, rest_port=ports[0], grpc_port=ports[1])
        spec = replace(spec, name=f"{record.name}-front", config=config)
    restarting.check_environment(spec, record.name)
    plan = serve_plan.replan(record.engine, spec)
    if ports is not None:
        server_control.prepare(plan)
    else:
        ENGINES[plan.engine].prepare(plan.launch, plan.models)
    return plan


def plan_removal(front: TrackedServer, *, restart: bool) -> tuple[ServePlan, list[str]]:
    """The plan of the server without its front, and notes for the user. It serves the versions that were promoted.

    `restart`: the front is stopped before the server starts. Raises InvalidInput if there is no front, or if a container
    would have to take its ports over, and what `plan_front` raises.
    """
    record = front.record
    if not front.is_front:
        raise InvalidInput(f"{record.name} has no front", hint=f"tfsctl front {record.name} starts one")
    if record.engine == "docker" and not restart:
        raise InvalidInput(
            f"{record.name} would run in a container, which cannot take the ports over while the front has them",
            hint=f"tfsctl front {record.name} --remove --restart refuses requests until the container is ready",
        )
    state = operations.read_state(front)
    _check_recordings(record.name, list(state.recordings))
    spec = _spec(front)
    models, notes = [], []
    for model in spec.config.models:
        found = _without_unpromoted(model, state.versions[model.name])
        models.append(found)
        if found != model:
            versions = ", ".join(map(str, found.policy.specific or ()))
            notes.append(f"{model.name} serves only version {versions}: newer versions on disk were not promoted")
    plain = replace(spec, front=False, config=replace(spec.config, models=tuple(models)))
    restarting.check_environment(plain, record.name)
    plan = serve_plan.replan(record.engine, plain)
    ENGINES[plan.engine].prepare(plan.launch, plan.models)
    return plan, notes


def _check_recordings(server: str, models: Sequence[str]) -> None:
    """Raise InvalidInput if requests are recorded: the new server would not continue that."""
    if models:
        raise InvalidInput(
            f"the requests of {models[0]} are being recorded, and the change would end that",
            hint=f"tfsctl record {server} --model {models[0]} --stop",
        )


def _check_handover(server: TrackedServer) -> None:
    """Raise InvalidInput if the server cannot hand its ports over."""
    record = server.record
    if record.container is None and port_handover.can_hand_over(record.pid or 0):
        return
    what = "runs in a container, which" if record.container is not None else "was started by an older tfsctl and"
    raise InvalidInput(
        f"{record.name} {what} cannot hand its ports over",
        hint=f"add --restart, which refuses requests for some seconds, or --rest-port 0 to start {record.name}-front",
    )


def _spec(server: TrackedServer) -> LaunchSpec:
    """How the server was started, with the ports that it has now. Raises EngineError if that is not known."""
    record = server.record
    spec = LaunchSpec.of_server(record.name, server.launch)
    return replace(spec, config=replace(spec.config, rest_port=record.rest_port, grpc_port=record.grpc_port))


def _without_unpromoted(model: ModelConfig, stable: int) -> ModelConfig:
    """The model, with exactly the promoted versions if its policy would serve others too, or not all of them."""
    served = {int(folder.name) for folder in find_configured(model).folders}
    wanted = {version for version in served if version < stable} | {stable}
    if served == wanted:
        return model
    labels = {label: version for label, version in model.labels.items() if version in wanted}
    return replace(model, policy=VersionPolicy(specific=tuple(sorted(wanted))), labels=labels)
