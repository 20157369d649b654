"""All servers that tfsctl started: those with a record and those found without one. Choose one of them by name."""

from __future__ import annotations

import difflib
from dataclasses import replace

from tfsctl.engines.registry import discovery, records
from tfsctl.engines.registry.tracked_server import RUNNING, TrackedServer
from tfsctl.errors import InvalidInput, NotFound


def servers() -> list[TrackedServer]:
    """All servers: running ones first, the longest-running of them first, then containers that do not run."""
    discovered = {
        (server.record.pid, server.record.container): server
        for server in (*discovery.processes(), *discovery.containers())
    }
    found: list[TrackedServer] = []
    for server in records.list_servers():  # records know the ports of a container that has ended; Docker does not
        other = discovered.pop((server.record.pid, server.record.container), None)
        found.append(replace(server, state=other.state) if other else server)
    found += discovered.values()
    return sorted(found, key=lambda server: (server.state != RUNNING, server.record.started_at, server.record.name))


def choose(name: str | None, command: str) -> list[TrackedServer]:
    """The servers of this name, or the only server if no name is given.

    There can be several of one name if tfsctl was killed while it started one. `command` is the tfsctl command that
    hints name. Raises NotFound if there is none, InvalidInput if no name is given and several run.
    """
    found = servers()
    names = list(dict.fromkeys(server.record.name for server in found))
    if name is None and len(names) > 1:
        raise InvalidInput(f"several servers run: {', '.join(names)}", hint=f"tfsctl {command} NAME")
    chosen = [server for server in found if name in (None, server.record.name)]
    if chosen:
        return chosen
    if name is None:
        raise NotFound("no server runs that tfsctl started", hint="tfsctl serve PATH starts one")
    close = difflib.get_close_matches(name, names, n=1)
    others = "tfsctl ps lists those that do" if names else "tfsctl serve PATH starts one"
    raise NotFound(
        f"no server {name} runs (running: {', '.join(names) or 'none'})",
        hint=f"tfsctl {command} {close[0]}" if close else others,
    )
