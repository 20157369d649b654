"""All servers that tfsctl started: those with a record and those found without one. Choose one of them by name."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tfsctl.engines import state_dir
from tfsctl.engines.registry import discovery, records
from tfsctl.engines.registry.tracked_server import RUNNING, TrackedServer
from tfsctl.errors import EngineError, InvalidInput, NotFound


def servers() -> list[TrackedServer]:
    """All servers: running ones first, the longest-running of them first, then those that have ended.

    Empty if there is no state directory, because this user has no home directory.
    """
    try:
        state_dir.base()
    except EngineError:
        return []
    with ThreadPoolExecutor(max_workers=1) as threads:  # each call of docker takes a tenth of a second
        ids = threads.submit(discovery.container_ids)
        found, processes = records.list_servers(), discovery.processes()
    known = {(server.record.pid, server.record.container) for server in found}
    recorded = {server.record.container for server in found}
    containers = discovery.containers([each for each in ids.result() if each not in recorded])
    for server in (*processes, *containers):
        if (server.record.pid, server.record.container) not in known:
            found.append(server)
    return sorted(found, key=lambda server: (server.state != RUNNING, server.record.started_at, server.record.name))


def choose_all(names: Sequence[str], command: str) -> list[TrackedServer]:
    """The servers of these names, or the only server if there are no names. Raises what `choose` raises."""
    return [server for name in (dict.fromkeys(names) or [None]) for server in choose(name, command)]


def choose(name: str | None, command: str) -> list[TrackedServer]:
    """The servers of this name, or the only server if no name is given.

    Without a name, servers of which only the record is left are considered only if there is no other. There can be several servers of one
    name if tfsctl was killed while it started one. `command` is the tfsctl command that hints name. Raises NotFound if
    there is none, InvalidInput if no name is given and there are several.
    """
    found = servers()
    current = [server for server in found if not server.is_left_over]
    names = list(dict.fromkeys(server.record.name for server in current))
    if name is None:
        found = current or found
        ended = list(dict.fromkeys(server.record.name for server in found))
        if not names and len(ended) > 1:
            raise InvalidInput(f"no servers are running; ended: {', '.join(ended)}", hint=f"tfsctl {command} NAME")
    if name is None and len(names) > 1:
        raise InvalidInput(f"several servers are running: {', '.join(names)}", hint=f"tfsctl {command} NAME")
    chosen = [server for server in found if name in (None, server.record.name)]
    if chosen:
        return chosen
    if name is None:
        raise NotFound("no servers are running", hint="start one with: tfsctl serve PATH")
    import difflib

    close = difflib.get_close_matches(name, names, n=1)
    others = "tfsctl ps lists the running servers" if names else "tfsctl serve PATH starts one"
    raise NotFound(
        f"no server named {name} is running (running: {', '.join(names) or 'none'})",
        hint=f"tfsctl {command} {close[0]}" if close else others,
    )
