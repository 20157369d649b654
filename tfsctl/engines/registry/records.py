"""The servers tfsctl started that still run: one JSON file each in the state directory.

An entry whose process or container is gone is dropped; one whose container has ended waits for it to be removed, so
that it can be restarted.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfsctl.engines.registry import state_dir
from tfsctl.errors import EngineError
from tfsctl.programs import processes

if TYPE_CHECKING:
    from tfsctl.engines.planning.launch_spec import EngineName, Launch, Started

_LIST = "servers"  # the folder of the state directory; only to add to it makes it
RUNNING, UNKNOWN = "running", "unknown"  # the second: Docker does not answer
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what listening everywhere is called, and how to reach it


@dataclass(frozen=True, slots=True)
class RunningServer:
    """One model server: who runs it and where it answers.

    `host` is where clients reach it; `pid` is set for processes, `container` (an id) for Docker; `started_at` is Unix
    time in seconds; `log_path` is None for a container, whose log Docker keeps.
    """

    name: str
    engine: EngineName
    host: str
    rest_port: int
    grpc_port: int
    models: tuple[str, ...]
    pid: int | None
    container: str | None
    started_at: float
    log_path: str | None

    @property
    def url(self) -> str:
        """Where its REST API answers."""
        return f"http://{self._at(self.rest_port)}"

    @property
    def grpc_address(self) -> str:
        """Where gRPC clients connect."""
        return self._at(self.grpc_port)

    def _at(self, port: int) -> str:
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"


def entry_of(launch: Launch, engine: EngineName, started: Started) -> RunningServer:
    """The entry of a server that is started now."""
    return RunningServer(
        name=launch.name,
        engine=engine,
        host=reachable(launch.host),
        rest_port=started.rest_port,
        grpc_port=started.grpc_port,
        models=tuple(model.name for model in launch.config.models),
        pid=started.pid,
        container=started.container,
        started_at=time.time(),
        log_path=started.log_path,
    )


def listed() -> list[tuple[RunningServer, str]]:
    """Every server on the list and where it is: `running`, what Docker calls its container, or UNKNOWN.

    The longest-running is first. Drops the entries of those that are gone, where the list can be written.
    """
    found: list[tuple[RunningServer, str]] = []
    for file in (state_dir.base() / _LIST).glob("*.json"):
        server, born = _read(file)
        status = "gone" if server is None else _status(server, born)
        if status == "gone" or server is None:
            with suppress(OSError):
                file.unlink(missing_ok=True)
            state_dir.forget_files(file.stem)
        else:
            found.append((server, status))
    return sorted(found, key=lambda each: (each[0].started_at, each[0].name))


def running() -> list[RunningServer]:
    """The servers that run, the longest-running first."""
    return [server for server, status in listed() if status == RUNNING]


def register(server: RunningServer, *, launch: Mapping[str, Any] | None = None) -> None:
    """Add a server that was just started; `launch` is what `Launch.to_document` gave for it.

    Raises EngineError when a running server has its name.
    """
    file = state_dir.directory(_LIST) / f"{server.name}.json"
    born = None if server.pid is None else processes.born(server.pid)
    entry = asdict(server) | {"born": born, "launch": launch}
    claim = file.with_name(f".{server.name}.{os.getpid()}")
    state_dir.write_atomically(claim, json.dumps(entry))
    listed()  # an entry of a server that is gone makes room
    try:
        os.link(claim, file)  # unlike a rename it fails if another command took the name meanwhile
    except FileExistsError:
        raise EngineError(f"a server named {server.name} runs already", hint=f"tfsctl stop {server.name}") from None
    finally:
        claim.unlink()


def launch_of(server: RunningServer) -> Mapping[str, Any] | None:
    """What a server was registered with, for `Launch.from_document`; None if it is not listed."""
    file = _file(server.name)
    if not _is_same(_read(file)[0], server):
        return None
    launch: Mapping[str, Any] | None = json.loads(file.read_text(encoding="utf-8"))["launch"]
    return launch


def unregister(server: RunningServer) -> bool:
    """Remove a server that was stopped; returns False if it is not listed, or another took its name meanwhile."""
    file = _file(server.name)
    if not _is_same(_read(file)[0], server):
        return False
    file.unlink(missing_ok=True)
    return True


def reachable(host: str) -> str:
    """Where clients of this machine reach what listens on `host`."""
    return _ANY_ADDRESS.get(host, host)


def _is_same(listed: RunningServer | None, server: RunningServer) -> bool:
    return listed is not None and (listed.pid, listed.container) == (server.pid, server.container)


def _file(name: str) -> Path:
    return state_dir.base() / _LIST / f"{name}.json"


def _read(file: Path) -> tuple[RunningServer | None, str | None]:
    try:
        entry = json.loads(file.read_text(encoding="utf-8"))
        born = entry.pop("born")
        del entry["launch"]
        return RunningServer(**{**entry, "models": tuple(entry["models"])}), born
    except (OSError, ValueError, TypeError, KeyError):  # gone meanwhile, or not ours
        return None, None


def _status(server: RunningServer, born: str | None) -> str:
    """Whether it is `running`, `gone`, what Docker calls its container, or UNKNOWN."""
    if server.pid is not None:
        return RUNNING if born is not None and processes.born(server.pid) == born else "gone"
    from tfsctl.engines.docker import container as docker_container  # most servers of those who only ask are processes

    return docker_container.status(server.container or server.name) or UNKNOWN
