"""Every server of ours: those the registry lists, and those found by their mark alone; and one of them by its name."""

from __future__ import annotations

import difflib

from tfsctl.engines import marks, registry
from tfsctl.engines.marks import RUNNING, Marked
from tfsctl.errors import InvalidInput, NotFound


def servers() -> list[Marked]:
    """All of them, the longest-running first, and after those the containers that do not run."""
    listed = registry.running()
    places = {(server.pid, server.container) for server in listed}
    found = [Marked(server, launch=registry.launch_of(server)) for server in listed]
    found += [
        each._replace(launch=each.launch or registry.launch_of(each.server))
        for each in (*marks.processes(), *marks.containers())
        if (each.server.pid, each.server.container) not in places
    ]
    return sorted(found, key=lambda each: (each.state != RUNNING, each.server.started_at, each.server.name))


def choose(name: str | None, command: str) -> Marked:
    """The server of this name, or the only one there is, for `tfsctl COMMAND`.

    Raises NotFound when there is none, InvalidInput when it is not clear which.
    """
    found = servers()
    names = list(dict.fromkeys(each.server.name for each in found))
    fitting = [each for each in found if name in (None, each.server.name)]
    if not fitting:
        raise nothing_found(name, names)
    if len(fitting) > 1 and name is None:
        raise InvalidInput(f"there are several servers: {', '.join(names)}", hint=f"tfsctl {command} NAME")
    return fitting[0]


def nothing_found(name: str | None, names: list[str]) -> NotFound:
    """The error for a name (None: any) that is not among the `names` there are."""
    if name is None:
        return NotFound("no server runs that tfsctl started", hint="tfsctl serve PATH starts one")
    close = difflib.get_close_matches(name, names, n=1)
    return NotFound(
        f"no server {name} runs (running: {', '.join(names) or 'none'})",
        hint=f"did you mean {close[0]}?" if close else "tfsctl ps lists those that do",
    )
