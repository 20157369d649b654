"""Choose one of the running servers by its name or by a model that it serves.

The command line and `tfsctl.connect` find servers here, and share its errors.
"""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tfsctl.clients.connection import ClientTls
from tfsctl.engines.exit_reasons import describe_status
from tfsctl.engines.registry import records
from tfsctl.engines.registry.tracked_server import GONE, RUNNING, UNKNOWN, TrackedServer
from tfsctl.errors import DockerError, InvalidInput, NotFound, TfsctlError

if TYPE_CHECKING:
    from tfsctl.engines.server_record import ServerRecord


def choose_server(
    running: Sequence[ServerRecord], *, model: str | None, name: str | None = None, has_model_option: bool = True
) -> ServerRecord:
    """Return the only running server that has the name and serves the model, as far as they are given.

    Without `has_model_option`, hints name no --model and --port: the command takes the model as an argument. Raises NotFound if no server fits, and InvalidInput if several do.
    """
    if name is not None:
        running = [_named(name, running)]
    if not running:
        raise no_running_server(has_model_option=has_model_option)
    candidates = [server for server in running if model is None or model in server.models]
    if not candidates:
        raise _unknown_model(model or "", running, has_model_option=has_model_option)
    if len(candidates) > 1:
        raise InvalidInput(
            f"several servers match: {_list_servers(candidates)}",
            hint=f"choose one with --server NAME, for example --server {candidates[0].name}",
        )
    return candidates[0]


def no_running_server(*, has_model_option: bool = True) -> TfsctlError:
    """Return the error if no server of ours is known to run: because none was started, or why the last one does not.

    NotFound, or DockerError if the Docker daemon does not respond, so that it is not known whether a container runs.
    """
    tracked = [server for server in records.list_servers() if server.state != RUNNING]
    unknown = [server.record.name for server in tracked if server.state == UNKNOWN]
    if unknown:
        return _not_known(unknown)
    if not tracked:
        return NotFound(
            "no server started by tfsctl is running",
            hint="start one with tfsctl serve PATH"
            + ("; --model NAME --port PORT uses another server" if has_model_option else ""),
        )
    return _not_running(max(tracked, key=lambda server: server.exit.ended_at if server.exit else 0.0))


def ended_server_of(model: str) -> TfsctlError | None:
    """Return the error that tells what became of the server that had a model; None if tfsctl started none that had it.

    NotFound, or DockerError if the Docker daemon does not respond. Call it if no running server serves the model.
    """
    tracked = [server for server in records.list_servers() if server.state != RUNNING and model in server.record.models]
    if not tracked:
        return None
    if tracked[-1].state == UNKNOWN:
        return _not_known([tracked[-1].record.name])
    return _not_running(tracked[-1], f"no running server serves {model!r}")


def _not_known(servers: Sequence[str]) -> DockerError:
    """The error for servers in containers while the Docker daemon does not respond."""
    return DockerError(
        f"the state of {' and '.join(servers)} is unknown: the Docker daemon does not respond",
        hint="start it (for example `sudo systemctl start docker`), then check with: tfsctl ps",
    )


def _not_running(server: TrackedServer, missing: str = "no model server is running") -> NotFound:
    """The error for a server that does not run, which tells what became of it. It begins with what is `missing`."""
    name, how = server.record.name, "" if server.exit is None else f" ({describe_status(server.exit.status)})"
    what, hint = f"{name} has ended{how}", f"tfsctl restart {name}"
    if server.state == GONE:
        what = f"the container of {name} was removed outside tfsctl"
    elif server.state == "paused":
        what, hint = f"the container of {name} is paused", f"docker unpause {(server.record.container or '')[:12]}"
    elif server.state == "restarting" and server.facts:
        what = f"Docker keeps restarting the container of {name}, which ended with status {server.facts.exit_status}"
        hint = f"tfsctl logs {name} --tail 20"
    elif server.facts:
        what = f"the container of {name} is in the state {server.state}" if server.exit is None else what
    from tfsctl.engines.registry import server_log

    error = NotFound(f"{missing}: {what}", hint=hint)
    error.cause = server_log.exit_cause(server)
    return error


def grpc_tls(server: ServerRecord, wanted: ClientTls | None) -> ClientTls | None:
    """The TLS of a gRPC client of a server of ours; None if the server has no TLS and none is wanted.

    Without another authority, the server's own certificate is trusted. Raises InvalidInput if the server asks for a
    client certificate and `wanted` has none.
    """
    if server.certificate is None:
        return wanted
    tls = wanted or ClientTls()
    if server.client_ca is not None and tls.cert is None:
        raise InvalidInput(
            f"the gRPC API of {server.name} requires a client certificate signed by {server.client_ca}",
            hint="add --cert FILE --key FILE; or use REST, which has no TLS",
        )
    return tls if tls.ca is not None else replace(tls, ca=Path(server.certificate))


def _named(name: str, running: Sequence[ServerRecord]) -> ServerRecord:
    """Return the running server of a name. Raises NotFound."""
    found = next((server for server in running if server.name == name), None)
    if found is not None:
        return found
    tracked = [server for server in records.list_servers() if server.record.name == name]
    if tracked and tracked[0].state not in (RUNNING, UNKNOWN):
        raise _not_running(tracked[0])
    names = [server.name for server in running]
    if not names or tracked:
        raise no_running_server()
    close = difflib.get_close_matches(name, names, n=1)
    raise NotFound(
        f"no running server is named {name!r}; running: {', '.join(names)}",
        hint=f"did you mean --server {close[0]}?" if close else "tfsctl ps lists the servers",
    )


def _unknown_model(name: str, running: Sequence[ServerRecord], *, has_model_option: bool) -> TfsctlError:
    """The error for a model that no running server serves."""
    ended = ended_server_of(name)
    if ended is not None:
        return ended
    known = [model for server in running for model in server.models]
    close = difflib.get_close_matches(name, known, n=1)
    model, _, label = name.rpartition("@")
    if model in known:
        hint = f"{shlex.quote(model)} --label {shlex.quote(label)} if {label} is a label; a version is a number"
    elif close:
        hint = f"did you mean --model {close[0]}?" if has_model_option else f"did you mean {close[0]}?"
    elif has_model_option:
        hint = f"--model {shlex.quote(known[0])} is served; --port PORT queries a server that tfsctl did not start"
    else:
        hint = "tfsctl ps lists the servers and their models"
    return NotFound(f"no running server serves {name!r}; running: {_list_servers(running)}", hint=hint)


def _list_servers(servers: Sequence[ServerRecord]) -> str:
    return ", ".join(map(_describe, servers))


def _describe(server: ServerRecord) -> str:
    """The name of a server, its models unless they are the name, and its ports."""
    models = "+".join(server.models)
    return (
        f"{server.name} ({'' if models == server.name else f'{models}; '}"
        f"REST {server.rest_port}, gRPC {server.grpc_port})"
    )
