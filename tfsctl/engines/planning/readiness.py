"""Wait until every model of a server is AVAILABLE. An open port alone is not enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tfsctl.core.types import ModelRef
from tfsctl.engines.model_on_disk import ModelOnDisk
from tfsctl.engines.planning.server_handle import ServerHandle
from tfsctl.errors import NotReadyInTime, TfsctlError

if TYPE_CHECKING:
    from tfsctl.clients.rest import RestClient

POLL_S = 0.05
LOG_POLL_S = 1.0  # reading the log of a container runs a program


class Interrupted(Exception):
    """The wait ended because `give_up` returned true."""


def wait_until_ready(
    server: ServerHandle, models: Sequence[ModelOnDisk], deadline: float, give_up: Callable[[], bool]
) -> None:
    """Return once every model is AVAILABLE.

    Raises EngineError (DockerError) if the server ends or a model cannot be loaded, NotReadyInTime after `deadline`
    (monotonic seconds), and Interrupted once `give_up()` is true.
    """
    from tfsctl.clients.rest import RestClient

    waiting = list(models)
    next_log_check = time.monotonic() + LOG_POLL_S
    with RestClient(server.record.host, server.record.rest_port, timeout_s=2.0) as client:
        while True:
            if give_up():
                raise Interrupted
            status = server.exit_status()
            if status is not None:
                raise server.exit_error(status, " before it was ready")
            reason = _remove_ready(client, waiting)
            if reason is None:
                return
            now = time.monotonic()
            if now > next_log_check:
                next_log_check = now + LOG_POLL_S
                load_error = server.load_error()
                if load_error is not None:
                    raise load_error
            if now > deadline:
                raise NotReadyInTime(
                    f"{waiting[0].name} is not AVAILABLE in time ({reason}); {server.log_excerpt()}",
                    hint="increase --wait-timeout SECONDS",
                )
            time.sleep(POLL_S)


def _remove_ready(client: RestClient, waiting: list[ModelOnDisk]) -> str | None:
    """Remove ready models from the front of the list.

    Returns why the first remaining model is not ready, or None if the list is empty.
    """
    while waiting:
        model = waiting[0]
        try:
            versions = client.status(ModelRef(model.name))
        except TfsctlError as error:  # the server does not listen yet, or does not know the model yet
            return error.message
        available = {version.version for version in versions if version.state == "AVAILABLE"}
        ready = available.issuperset(model.required_versions) if model.required_versions else bool(available)
        if not ready:
            return ", ".join(f"version {v.version} is {v.state} {v.error_message}".strip() for v in versions)
        del waiting[0]
    return None
