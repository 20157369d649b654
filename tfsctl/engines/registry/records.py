"""The records of servers: one JSON file each in the folder `servers` of the state directory.

A file holds the fields of `ServerRecord` and two more: `born` (the identity of the process) and `launch` (the JSON of
its LaunchSpec). The record of a server that has ended is kept until `tfsctl stop`, or until a new server takes its
name, so that the server can be restarted. The state and the ports of a container are read from Docker.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from tfsctl.engines import state_dir
from tfsctl.engines.registry.tracked_server import ENDED, GONE, RUNNING, UNKNOWN, TrackedServer
from tfsctl.engines.server_record import ServerRecord, reachable_host
from tfsctl.errors import EngineError
from tfsctl.programs import processes

if TYPE_CHECKING:
    from tfsctl.engines.docker.inspection import ContainerFacts
    from tfsctl.programs.exit_records import ExitRecord

_FOLDER = "servers"


def list_servers() -> list[TrackedServer]:
    """Every server that has a record, the longest-running first. Some have ended.

    Deletes invalid records, and the config files of servers that have ended.
    """
    stored: list[tuple[ServerRecord, Mapping[str, Any]]] = []
    for file in _folder_files():
        document = _read_document(file)
        if document is None:
            with suppress(OSError):
                file.unlink(missing_ok=True)
            state_dir.remove_config_files(file.stem)
        else:
            stored.append(document)
    found = _tracked(stored)
    for server in found:
        if server.exit is not None and server.record.pid is not None:
            state_dir.remove_config_files(server.record.name, written_before=server.exit.ended_at)
        if server.state == GONE:
            state_dir.remove_config_files(server.record.name)
    return sorted(found, key=lambda server: (server.record.started_at, server.record.name))


def running() -> list[ServerRecord]:
    """The servers that run, the longest-running first."""
    return [server.record for server in list_servers() if server.state == RUNNING]


def register(record: ServerRecord, *, launch: Mapping[str, Any] | None = None) -> None:
    """Write the record of a server that was just started; `launch` is the result of `LaunchSpec.to_document`.

    Raises EngineError if a server of that name runs. The record of one that has ended is replaced.
    """
    file = state_dir.subfolder(_FOLDER) / f"{record.name}.json"
    temporary = file.with_name(f".{record.name}.{os.getpid()}")
    state_dir.write_atomically(temporary, _file_text(record, launch))
    earlier = _read(file)
    try:
        if earlier is None or earlier.is_left_over:
            file.unlink(missing_ok=True)
        os.link(temporary, file)  # unlike a rename, fails if another command has taken the name
    except FileExistsError:
        raise EngineError(
            f"a server named {record.name} is already running", hint=f"tfsctl stop {record.name}"
        ) from None
    except OSError as error:
        raise EngineError(f"cannot write {file}: {error.strerror}") from error
    finally:
        temporary.unlink()


def replace_server(record: ServerRecord, *, launch: Mapping[str, Any]) -> None:
    """Write the record of a server that has taken over from the running server of the same name. Raises EngineError."""
    state_dir.write_atomically(state_dir.subfolder(_FOLDER) / f"{record.name}.json", _file_text(record, launch))


def has_ended(record: ServerRecord) -> bool:
    """Whether the record of this server tells that its process has ended. Another process may have its id now."""
    stored = _read(_file(record.name))
    return stored is not None and _same_server(stored.record, record) and stored.state == ENDED


def launch_document(record: ServerRecord) -> Mapping[str, Any] | None:
    """The JSON of the LaunchSpec that a server was registered with; None if it has no record."""
    stored = _read_document(_file(record.name))
    if stored is None or not _same_server(stored[0], record):
        return None
    launch: Mapping[str, Any] | None = stored[1]["launch"]
    return launch


def update_launch(record: ServerRecord, launch: Mapping[str, Any]) -> None:
    """Replace the LaunchSpec in the record of a running server, so that a restart uses the new one.

    Raises EngineError if the record is gone, another server has taken its name, or the file cannot be written.
    """
    file = _file(record.name)
    stored = _read_document(file)
    if stored is None or not _same_server(stored[0], record):
        raise EngineError(f"the server {record.name} was stopped or restarted in the meantime", hint="tfsctl ps")
    document = stored[0].to_document() | dict(stored[1]) | {"launch": launch}
    state_dir.write_atomically(file, json.dumps(document))


def unregister(record: ServerRecord) -> bool:
    """Delete the record of a server. Returns False if it has none, or if another server has taken its name."""
    file = _file(record.name)
    stored = _read_document(file)
    if stored is None or not _same_server(stored[0], record):
        return False
    file.unlink(missing_ok=True)
    with suppress(OSError):
        state_dir.exit_file(record.name).unlink(missing_ok=True)
    return True


def _file_text(record: ServerRecord, launch: Mapping[str, Any] | None) -> str:
    """The content of the file of a server that runs."""
    identity = None if record.pid is None else processes.process_identity(record.pid)
    return json.dumps(record.to_document() | {"born": identity, "launch": launch})


def _same_server(one: ServerRecord, other: ServerRecord) -> bool:
    return (one.pid, one.container) == (other.pid, other.container)


def _folder_files() -> list[Path]:
    try:
        return sorted((state_dir.base() / _FOLDER).glob("*.json"))
    except (EngineError, OSError):  # no home directory, or a path that cannot exist: there are no records either
        return []


def _file(name: str) -> Path:
    return state_dir.base() / _FOLDER / f"{name}.json"


def _read_document(file: Path) -> tuple[ServerRecord, Mapping[str, Any]] | None:
    """The record in a file, and the fields that only the file has. None if the file is gone or is not a record."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        extra = {key: document.pop(key) for key in ("born", "launch")}
        if not isinstance(extra["launch"], (dict, NoneType)):
            return None
        return ServerRecord.from_document(document), extra
    except (OSError, RecursionError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _read(file: Path) -> TrackedServer | None:
    document = _read_document(file)
    return None if document is None else _tracked([document])[0]


def _tracked(stored: Sequence[tuple[ServerRecord, Mapping[str, Any]]]) -> list[TrackedServer]:
    """The servers of these records with their states. All containers are inspected at once."""
    containers = [record.container for record, _ in stored if record.container is not None]
    facts: Mapping[str, ContainerFacts] | None = {}
    if containers:
        from tfsctl.engines.docker import inspection  # most servers are processes, which do not need it

        facts = inspection.inspect(containers)
    return [
        _tracked_process(record, extra) if record.container is None else _tracked_container(record, extra, facts)
        for record, extra in stored
    ]


def _tracked_process(record: ServerRecord, extra: Mapping[str, Any]) -> TrackedServer:
    pid, identity = record.pid or 0, extra["born"]
    if identity is not None and processes.process_identity(pid) == identity:
        return TrackedServer(record, RUNNING, extra["launch"])
    from tfsctl.programs.exit_records import read_exit_record  # most servers run

    return TrackedServer(record, ENDED, extra["launch"], read_exit_record(state_dir.exit_file(record.name), pid))


def _tracked_container(
    record: ServerRecord, extra: Mapping[str, Any], facts: Mapping[str, ContainerFacts] | None
) -> TrackedServer:
    """The server of a container, with the ports and the start time that Docker knows now."""
    launch = extra["launch"]
    if facts is None:
        return TrackedServer(record, UNKNOWN, launch)
    found = facts.get(record.container or "")
    if found is None:
        return TrackedServer(record, GONE, launch)
    record = replace(
        record,
        host=reachable_host(found.bind_address) if found.bind_address else record.host,
        rest_port=found.rest_port or record.rest_port,
        grpc_port=found.grpc_port or record.grpc_port,
        started_at=found.started_at,
        bind_address=found.bind_address or record.bind_address,
    )
    return TrackedServer(record, found.state, launch, exit_of(found), found)


def exit_of(facts: ContainerFacts) -> ExitRecord | None:
    """How a container ended; None if it has not."""
    from tfsctl.programs.exit_records import ExitRecord

    return ExitRecord(facts.exit_status, facts.ended_at) if facts.ended_at and facts.status == "exited" else None
