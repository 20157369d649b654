"""Every server of ours: those the registry lists, and those found by their mark alone; and one of them by its name."""

from __future__ import annotations

import difflib

from tfsctl.engines.registry import discovery, records
from tfsctl.engines.registry.discovery import Marked
from tfsctl.engines.registry.records import RUNNING
from tfsctl.errors import InvalidInput, NotFound


def servers() -> list[Marked]:
    """All of them, the longest-running first, and after those the containers that do not run."""
    marked = {
        (each.server.pid, each.server.container): each for each in (*discovery.processes(), *discovery.containers())
    }
    found: list[Marked] = []
    for server, status in records.listed():  # which knows the ports also of a container that has ended
        mark = marked.pop((server.pid, server.container), None)
        found.append(Marked(server, mark.state if mark else status, records.launch_of(server)))
    found += marked.values()
    return sorted(found, key=lambda each: (each.state != RUNNING, each.server.started_at, each.server.name))


def choose(name: str | None, command: str) -> list[Marked]:
    """The servers of this name (one, unless a crash left another behind), or the only one, for `tfsctl COMMAND`.

    Raises NotFound when there is none, InvalidInput when it is not clear which.
    """
    found = servers()
    names = list(dict.fromkeys(each.server.name for each in found))
    if name is None and len(names) > 1:
        raise InvalidInput(f"several servers run: {', '.join(names)}", hint=f"tfsctl {command} NAME")
    fitting = [each for each in found if name in (None, each.server.name)]
    if fitting:
        return fitting
    if name is None:
        raise NotFound("no server runs that tfsctl started", hint="tfsctl serve PATH starts one")
    close = difflib.get_close_matches(name, names, n=1)
    others = "tfsctl ps lists those that do" if names else "tfsctl serve PATH starts one"
    raise NotFound(
        f"no server {name} runs (running: {', '.join(names) or 'none'})",
        hint=f"tfsctl {command} {close[0]}" if close else others,
    )
