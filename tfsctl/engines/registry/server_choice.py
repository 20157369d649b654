"""Choose one of the running servers by its name or by a model that it serves.

The command line and `tfsctl.connect` find servers here, and share its errors.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfsctl.engines.exit_reasons import describe_status
from tfsctl.engines.registry import records, server_log
from tfsctl.engines.registry.tracked_server import ENDED
from tfsctl.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from tfsctl.engines.server_record import ServerRecord


def choose_server(running: Sequence[ServerRecord], *, model: str | None, name: str | None = None) -> ServerRecord:
    """Return the only running server that has the name and serves the model, as far as they are given.

    Raises NotFound if no server fits, and InvalidInput if several do.
    """
    if name is not None:
        running = [_named(name, running)]
    if not running:
        raise no_running_server()
    candidates = [server for server in running if model is None or model in server.models]
    if not candidates:
        raise _unknown_model(model or "", running)
    if len(candidates) > 1:
        raise InvalidInput(
            f"several servers fit: {_list_servers(candidates)}",
            hint=f"choose one with --server NAME, for example --server {candidates[0].name}",
        )
    return candidates[0]


def no_running_server() -> NotFound:
    """Return the error if tfsctl started no server that runs. It names the server that ended last, if there is one."""
    ended = [server for server in records.list_servers() if server.state == ENDED]
    if not ended:
        return NotFound(
            "no model server is running that tfsctl started",
            hint="tfsctl serve PATH starts one; --model NAME --port PORT names another",
        )
    last = max(ended, key=lambda server: server.exit.ended_at if server.exit else 0.0)
    how = f" ({describe_status(last.exit.status)})" if last.exit else ""
    error = NotFound(
        f"no model server is running: {last.record.name} has ended{how}", hint=f"tfsctl restart {last.record.name}"
    )
    error.cause = server_log.exit_cause(last)
    return error


def _named(name: str, running: Sequence[ServerRecord]) -> ServerRecord:
    """Return the running server of a name. Raises NotFound."""
    found = next((server for server in running if server.name == name), None)
    if found is not None:
        return found
    names = [server.name for server in running]
    if not names:
        raise no_running_server()
    close = difflib.get_close_matches(name, names, n=1)
    raise NotFound(
        f"no running server is named {name!r}; running: {', '.join(names)}",
        hint=f"did you mean --server {close[0]}?" if close else "tfsctl ps lists the servers",
    )


def _unknown_model(name: str, running: Sequence[ServerRecord]) -> NotFound:
    known = [model for server in running for model in server.models]
    close = difflib.get_close_matches(name, known, n=1)
    return NotFound(
        f"no running server serves {name!r}; running: {_list_servers(running)}",
        hint=f"did you mean --model {close[0]}?"
        if close
        else f"--model {shlex.quote(known[0])} is served; --port PORT queries a server that tfsctl did not start",
    )


def _list_servers(servers: Sequence[ServerRecord]) -> str:
    return ", ".join(map(_describe, servers))


def _describe(server: ServerRecord) -> str:
    """The name of a server, its models unless they are the name, and its ports."""
    models = "+".join(server.models)
    return (
        f"{server.name} ({'' if models == server.name else f'{models}; '}"
        f"REST {server.rest_port}, gRPC {server.grpc_port})"
    )
