"""`serve` starts a model server, and `front` puts Envoy in front of one. Both return a `Serving`, the running server."""

from __future__ import annotations

import atexit
import os
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, cast, get_args

from tfsctl.api.client import Client
from tfsctl.api.connecting import connect
from tfsctl.api.hints import python_errors
from tfsctl.clients.connection import DEFAULT_TIMEOUT_S, check_timeout
from tfsctl.engines.launch_spec import ContainerOptions, EngineName
from tfsctl.errors import EngineError, InvalidInput

if TYPE_CHECKING:
    from typing_extensions import Self

    from tfsctl.engines.planning.serve_options import ServeOptions
    from tfsctl.engines.planning.serve_plan import ServePlan
    from tfsctl.engines.planning.server_handle import ServerHandle
    from tfsctl.engines.server_record import ServerRecord

_MAX_NAMES = 100
_MAX_PORT = 65535


class Serving:
    """A running model server. Use it as a context manager, or call `stop`.

    A server that `serve` started ends with the block, and at the latest when this process exits. A server that ran
    already (`joined`) keeps running until `stop` is called, or `tfsctl stop NAME`.
    """

    def __init__(self, record: ServerRecord, handle: ServerHandle | None = None) -> None:
        self._record = record
        self._handle = handle
        self._is_stopped = False
        if handle is not None:
            atexit.register(_stop_in_process, self, os.getpid())

    def __repr__(self) -> str:
        joined = ", joined" if self.joined else ""
        models = ", ".join(self._record.models)
        return f"<tfsctl.Serving {self.name}: {models} at {self.grpc_address} and {self.url}{joined}>"

    @property
    def name(self) -> str:
        """The name of the server, as in `tfsctl ps`."""
        return self._record.name

    @property
    def models(self) -> tuple[str, ...]:
        """The names of its models."""
        return self._record.models

    @property
    def joined(self) -> bool:
        """Whether the server ran already when `serve` was called."""
        return self._handle is None

    @property
    def grpc_address(self) -> str:
        """The gRPC address, `host:port`."""
        return self._record.grpc_address

    @property
    def url(self) -> str:
        """The base URL of the REST API."""
        return self._record.url

    def connect(self, *, model: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S) -> Client:
        """Return a gRPC client for the server (default for `model`: the only model of the server)."""
        models = self._record.models
        return connect(self.grpc_address, model=model or (models[0] if len(models) == 1 else None), timeout_s=timeout_s)

    def stop(self) -> None:
        """Stop the server, also if it was joined. Stopping it again does nothing."""
        from tfsctl.engines.planning import server_control

        if self._is_stopped:
            return
        self._is_stopped = True
        if self._handle is not None:
            self._handle.stop()
        else:
            server_control.stop(self._record)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if not self.joined:
            self.stop()


def serve(
    *paths: str | os.PathLike[str],
    engine: EngineName | Literal["auto"] | None = None,
    name: str | None = None,
    rest_port: int = 0,
    grpc_port: int = 0,
    wait_timeout_s: float = 60.0,
) -> Serving:
    """Start a model server, and return once all models are ready. Port 0 (default) chooses a free port.

    Like the command, it takes `engine` from the environment variable TFSCTL_ENGINE (default: auto), and the image of a
    container from TFSCTL_IMAGE.

    If a server of the same name serves the same models with the same options already, it is joined. If it serves
    something else, the new server gets another name (`NAME-2`), unless `name` was given.

    Raises NotFound or InvalidInput for invalid paths, EngineError (DockerError) if the server does not start or the
    given name is in use, and NotReadyInTime if a model is not ready after `wait_timeout_s` seconds. No server that
    this call started is left running after an error.
    """
    from tfsctl.engines.planning import serve_plan
    from tfsctl.engines.planning.serve_options import ServeOptions

    image = os.environ.get("TFSCTL_IMAGE")
    options = ServeOptions(
        paths=tuple(Path(path) for path in paths),
        name=name,
        engine=engine or cast("EngineName", os.environ.get("TFSCTL_ENGINE") or "auto"),
        rest_port=rest_port,
        grpc_port=grpc_port,
        container=ContainerOptions(image=image) if image else ContainerOptions(),
    )
    with python_errors():
        _check_options(options)
        check_timeout("wait_timeout_s", wait_timeout_s)
        plan = serve_plan.make_plan(options)
        wanted = plan.launch.name
        for number in range(1, _MAX_NAMES):
            if number > 1:
                plan = replace(plan, launch=replace(plan.launch, name=f"{wanted}-{number}"))
            joined = _join(plan, options, wait_timeout_s)
            if joined is not None:
                return joined
            try:
                return _start(plan, wait_timeout_s)
            except EngineError:
                if name is not None or not _is_running(plan.launch.name):
                    raise
        raise EngineError(f"{_MAX_NAMES} servers named {wanted} are already running", hint=f"tfsctl stop {wanted}")


@python_errors()
def front(
    name: str | None = None,
    *,
    remove: bool = False,
    restart: bool = False,
    rest_port: int | None = None,
    grpc_port: int | None = None,
    wait_timeout_s: float = 60.0,
) -> Serving:
    """Put the Envoy proxy in front of a running server (default: the only one), or take it away with `remove`.

    Returns the server that has the ports now. It keeps running until `stop` is called. An embedded server hands its ports
    over without a lost request; a container needs `restart=True`, or other ports for the front (0: any free port).

    Raises NotFound for an unknown server, InvalidInput if the change is not possible, EngineError if a process cannot be
    started, and NotReadyInTime.
    """
    from tfsctl.engines.planning import server_control
    from tfsctl.rollout.front import children
    from tfsctl.rollout.placement import changes, plans
    from tfsctl.rollout.placement.waiting import WaitOptions

    has_ports = rest_port is not None or grpc_port is not None
    if has_ports and (remove or restart):
        option = "remove=True" if remove else "restart=True"
        raise InvalidInput(f"{option} cannot be used with rest_port or grpc_port", hint=f"remove {option}")
    ports = (rest_port or 0, grpc_port or 0)
    _check_ports(*ports)
    check_timeout("wait_timeout_s", wait_timeout_s)
    server, wait_options = plans.find_running(name), WaitOptions(wait_timeout_s)
    if remove:
        plan, _ = plans.plan_removal(server, restart=restart)
        handle = (changes.restart_without_front if restart else changes.remove_front)(server, plan, wait_options)
    elif has_ports:
        plan = plans.plan_front(server, "second address", ports)
        children.clean_up(plan.launch.name)
        handle = server_control.start(plan, detach=True, wait_timeout_s=wait_timeout_s)
    else:
        plan = plans.plan_front(server, "restart" if restart else "handover")
        handle = changes.put_front(server, plan, wait_options, stop_old=restart)
    handle.detach()
    return Serving(handle.record)


def _check_options(options: ServeOptions) -> None:
    """Raise InvalidInput for an unknown engine or an impossible port."""
    engines = ("auto", *get_args(EngineName))
    if options.engine not in engines:
        raise InvalidInput(f"there is no engine {options.engine!r}", hint=f"engines are {', '.join(engines)}")
    _check_ports(options.rest_port, options.grpc_port)


def _check_ports(*ports: int) -> None:
    for port in ports:
        if not 0 <= port <= _MAX_PORT:
            raise InvalidInput(f"{port} is not a port", hint="ports go from 1 to 65535; 0 chooses a free one")


def _stop_in_process(serving: Serving, process: int) -> None:
    """Stop a server when the process that started it exits. A fork of that process leaves the server alone."""
    if os.getpid() == process:
        serving.stop()


def _start(plan: ServePlan, wait_timeout_s: float) -> Serving:
    from tfsctl.engines.planning import server_control

    server_control.prepare(plan)
    handle = server_control.start(plan, detach=True, wait_timeout_s=wait_timeout_s)
    return Serving(handle.record, handle)


def _is_running(name: str) -> bool:
    from tfsctl.engines.registry import records

    return any(record.name == name for record in records.running())


def _join(plan: ServePlan, options: ServeOptions, wait_timeout_s: float) -> Serving | None:
    """Return the running server that has the name of the plan and serves the same, once it is ready; None without one."""
    from tfsctl.engines.launch_spec import LaunchSpec
    from tfsctl.engines.registry import records

    record = next((record for record in records.running() if record.name == plan.launch.name), None)
    document = None if record is None else records.launch_document(record)
    if record is None or document is None or options.engine not in ("auto", record.engine):
        return None
    try:
        config = LaunchSpec.from_document(document).config
    except (KeyError, TypeError, ValueError):  # written by another version of tfsctl
        return None
    if options.rest_port not in (0, record.rest_port) or options.grpc_port not in (0, record.grpc_port):
        return None
    if replace(plan.launch.config, rest_port=config.rest_port, grpc_port=config.grpc_port) != config:
        return None
    deadline = time.monotonic() + wait_timeout_s
    joined = Serving(record)
    with joined.connect(timeout_s=wait_timeout_s) as client:
        for model in record.models:
            client.wait(model, timeout_s=max(0.0, deadline - time.monotonic()))
    return joined
