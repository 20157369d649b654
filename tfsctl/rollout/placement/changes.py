"""Put a front in front of a running server, and take it away again: `tfsctl front`.

The new server starts while the old one still runs, and then takes the ports over. If it fails before that, the old one
keeps running unchanged.
"""

from __future__ import annotations

from tfsctl.engines.planning import restarting
from tfsctl.engines.planning.serve_plan import ServePlan
from tfsctl.engines.planning.server_handle import ServerHandle
from tfsctl.engines.process import embedded
from tfsctl.engines.process import front as front_process
from tfsctl.engines.registry import records
from tfsctl.engines.registry.tracked_server import TrackedServer
from tfsctl.engines.server_record import record_of
from tfsctl.programs import port_handover, processes
from tfsctl.rollout.front import children, handover, operations
from tfsctl.rollout.front.front_files import ContainerRef, FrontFiles, FrontState, ProcessRef
from tfsctl.rollout.placement.waiting import WaitOptions, wait_for, wait_for_end

_ENVOY_S = 30.0  # for the start of Envoy


def put_front(server: TrackedServer, plan: ServePlan, options: WaitOptions, *, stop_old: bool) -> ServerHandle:
    """Start a front that takes the ports of a server over, or stops it first. Returns when the old server has ended.

    Raises EngineError if the front cannot be started, NotReadyInTime, and Interrupted if `give_up()` returns true. The
    old server then keeps running, unless it had to be stopped for the front.
    """
    old = _reference(server)
    children.clean_up(plan.launch.name)
    options.show_step(f"loading {', '.join(model.name for model in plan.models)}")
    process = front_process.start(
        plan.launch, plan.engine, detach=True, environment=handover.to_variable(old, stop=stop_old)
    )
    handle = ServerHandle(record_of(plan.launch, plan.engine, process), process, log_shown=False)
    files = FrontFiles(plan.launch.name)
    try:
        wait_for(handle, options, lambda: _has_started_envoy(files.read()))
        wait_for(handle, WaitOptions(_ENVOY_S), lambda: _is_serving(files.read()))  # the old server ends now
    except BaseException:
        process.stop()
        children.clean_up(plan.launch.name)
        raise
    records.replace_server(handle.record, launch=plan.launch.to_document())
    options.show_step("waiting for the clients of the old server")
    if isinstance(old, ProcessRef):
        wait_for_end(old, options)
    return handle


def remove_front(front: TrackedServer, plan: ServePlan, options: WaitOptions) -> ServerHandle:
    """Start an embedded server that takes the ports of a front over. Returns when the front has ended.

    Raises InvalidInput if a rollout is running, EngineError if the server cannot be started, NotReadyInTime, and
    Interrupted if `give_up()` returns true. The front then keeps running.
    """
    with operations.removal(front):
        options.show_step(f"loading {', '.join(model.name for model in plan.models)}")
        process = embedded.start(plan.launch, detach=True, environment={port_handover.VARIABLE: "1"})
        handle = ServerHandle(record_of(plan.launch, plan.engine, process), process, log_shown=False)
        wanted = {handle.record.rest_port, handle.record.grpc_port}
        try:
            wait_for(handle, options, lambda: wanted <= processes.listening_ports(process.pid or 0))
        except BaseException:
            process.stop()
            raise
    records.replace_server(handle.record, launch=plan.launch.to_document())
    options.show_step("waiting for the clients of the front")
    wait_for_end(_reference(front), options)
    children.clean_up(plan.launch.name)
    return handle


def restart_without_front(front: TrackedServer, plan: ServePlan, options: WaitOptions) -> ServerHandle:
    """Stop a front, and start the server without it. Requests are refused during the change.

    Raises InvalidInput if a rollout is running, and what `restart` raises.
    """
    operations.check_no_rollout(front)
    handle = restarting.restart(
        front,
        plan,
        wait_timeout_s=options.wait_timeout_s,
        give_up=options.give_up,
        show_step=options.show_step,
    )
    children.clean_up(plan.launch.name)
    return handle


def _reference(server: TrackedServer) -> ProcessRef | ContainerRef:
    record = server.record
    if record.container is not None:
        return ContainerRef(record.container)
    pid = record.pid or 0
    return ProcessRef(pid, processes.process_identity(pid))


def _has_started_envoy(state: FrontState | None) -> bool:
    """Whether Envoy was started, and the old server may be leaving."""
    return state is not None and state.envoy is not None


def _is_serving(state: FrontState | None) -> bool:
    """Whether Envoy uses the routes, so that the old server ends."""
    return state is not None and state.envoy is not None and 0 < state.generation == state.applied
