"""Shell completion of server and model names. Completes nothing, silently, if the names cannot be found."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def complete_servers(incomplete: str) -> list[str]:
    """The names of the servers that tfsctl started."""
    from tfsctl.engines.registry import records

    return matching_names(incomplete, lambda: (server.record.name for server in records.list_servers()))


def complete_models(incomplete: str) -> list[str]:
    """The models of the running servers that tfsctl started."""
    from tfsctl.engines.registry import records

    return matching_names(incomplete, lambda: (model for server in records.running() for model in server.models))


def complete_profiles(incomplete: str) -> list[str]:
    """The names of the profiles in the config file."""
    from tfsctl.clients.profiles.profile_file import profile_names

    return matching_names(incomplete, profile_names)


def matching_names(prefix: str, find_names: Callable[[], Iterable[str]]) -> list[str]:
    """The names that begin with the prefix; none if finding them fails."""
    try:
        return [name for name in find_names() if name.startswith(prefix)]
    except Exception:  # noqa: BLE001 - an error message would be printed into the user's command line
        return []
