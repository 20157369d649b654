"""Move the public ports between a running server and a front.

A server of ours hands its ports over and loses no request (`programs/port_handover`). Any other server is stopped first,
so that requests are refused until the front listens.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass

from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.engines.state_document import from_document
from tfsctl.errors import EngineError
from tfsctl.programs import port_handover
from tfsctl.rollout.front import children
from tfsctl.rollout.front.envoy import admin
from tfsctl.rollout.front.front_files import ContainerRef, ProcessRef

VARIABLE = (
    "TFSCTL_FRONT_PREDECESSOR"  # the environment variable of a front with the server whose ports it takes, as JSON
)
_SHARE_S = 10.0  # how long a server may take to share its ports: its event loop may be busy
_LEAVE_S = 25.0  # how long clients of Envoy may take to leave; less than the time after which a front is killed
_IDLE_S = 5.0  # after which idle connections of Envoy are closed
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Predecessor:
    """A server whose ports a front takes: it shares them, or it is stopped first (`stop`)."""

    server: ProcessRef | ContainerRef
    stop: bool


def to_variable(server: ProcessRef | ContainerRef, *, stop: bool) -> dict[str, str]:
    """The environment variable for a front that is to take the ports of a server."""
    return {VARIABLE: json.dumps({"server": asdict(server), "stop": stop})}


def from_variable(value: str | None) -> Predecessor | None:
    """The server in the variable; None if it is not set."""
    if not value:
        return None
    return from_document(Predecessor, json.loads(value))


def request_ports(predecessor: Predecessor, spec: LaunchSpec) -> bool:
    """Have a server share its ports with this user's processes. It ends once Envoy listens on them.

    Returns False if the server does not run any more. Raises EngineError if it does not respond.
    """
    server = predecessor.server
    if predecessor.stop or not isinstance(server, ProcessRef) or not server.runs:
        children.stop(server)
        return False
    if not port_handover.can_hand_over(server.pid):
        raise EngineError(f"process {server.pid} cannot hand its ports over")
    os.kill(server.pid, port_handover.SIGNAL)
    deadline = time.monotonic() + _SHARE_S
    wanted = (spec.config.rest_port, spec.config.grpc_port)
    while not all(port_handover.can_join(spec.host, port) for port in wanted):
        if time.monotonic() > deadline:
            raise EngineError(f"process {server.pid} does not hand its ports over")
        time.sleep(_POLL_S)
    return True


def send_clients_away(admin_socket: str) -> None:
    """Have the clients of Envoy connect to the server that shares its ports. Raises nothing.

    Returns when all have gone or are idle, or after _LEAVE_S.
    """
    begin = last_request = time.monotonic()
    answered = -1
    with suppress(EngineError):
        admin.close_connections_after_answer(admin_socket)
        while (now := time.monotonic()) < begin + _LEAVE_S:
            found = admin.read_statistics(admin_socket)
            if found.active or found.answered != answered:
                answered, last_request = found.answered, now
            is_quiet = now > begin + port_handover.QUIET_S
            if is_quiet and (found.connections == 0 or now > last_request + _IDLE_S):
                return
            time.sleep(_POLL_S)
