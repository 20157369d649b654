"""Waiting until every model of a server answers; an open port alone is not enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tfsctl.core.types import ModelRef
from tfsctl.engines.planning.preflight import Found
from tfsctl.engines.planning.server_handle import Server
from tfsctl.errors import NotReadyInTime, TfsctlError

if TYPE_CHECKING:
    from tfsctl.clients.rest import RestClient

POLL_S = 0.05
LOG_POLL_S = 1.0  # how often its log is looked at; for a container that is a program to run


class Interrupted(Exception):
    """The wait was given up because `give_up` said so."""


def wait(server: Server, founds: Sequence[Found], deadline: float, give_up: Callable[[], bool]) -> None:
    """Return once every model is AVAILABLE.

    Raises EngineError (DockerError) when the server ends or a model cannot be loaded, NotReadyInTime after `deadline`
    (monotonic seconds), Interrupted once `give_up()` is true.
    """
    from tfsctl.clients.rest import RestClient

    waiting = list(founds)
    next_log_look = time.monotonic() + LOG_POLL_S
    with RestClient(server.entry.host, server.entry.rest_port, timeout_s=2.0) as client:
        while True:
            if give_up():
                raise Interrupted
            status = server.ended()
            if status is not None:
                raise server.ended_error(status, " before it was ready")
            state = _still_missing(client, waiting)
            if state is None:
                return
            now = time.monotonic()
            if now > next_log_look:
                next_log_look = now + LOG_POLL_S
                failed = server.load_error()
                if failed is not None:
                    raise failed
            if now > deadline:
                raise NotReadyInTime(
                    f"{waiting[0].model.name} is not AVAILABLE in time ({state}); {server.log_end()}",
                    hint="--wait-timeout SECONDS waits longer",
                )
            time.sleep(POLL_S)


def _still_missing(client: RestClient, waiting: list[Found]) -> str | None:
    """Take what is ready off the list; returns how the first that is not ready is, or None if nothing is left."""
    while waiting:
        found = waiting[0]
        try:
            versions = client.status(ModelRef(found.model.name))
        except TfsctlError as error:  # it does not listen yet, or does not know the model yet
            return error.message
        available = {version.version for version in versions if version.state == "AVAILABLE"}
        ready = available.issuperset(found.versions) if found.versions else bool(available)
        if not ready:
            return ", ".join(f"version {v.version} is {v.state} {v.error_message}".strip() for v in versions)
        del waiting[0]
    return None
