"""The files of a front in the state directory: its state, which only the front writes, and the last command to it.

Commands write `command.json` and wait until the state names the command as done. They hold the lock of the front
meanwhile, so that two operators do not interfere.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from tfsctl.engines import state_dir
from tfsctl.engines.state_document import from_document
from tfsctl.programs import processes
from tfsctl.rollout.experiment.exposure_store import ExposureStore
from tfsctl.rollout.front.envoy.routes import Slot
from tfsctl.rollout.front.rollout_state import Rollout
from tfsctl.rollout.shadow.collector_files import CollectorFiles
from tfsctl.rollout.shadow.shadow_state import Shadow


@dataclass(frozen=True, slots=True)
class ProcessRef:
    """A process that outlives the front: its id, and the identity that tells it from another one with that id."""

    pid: int
    identity: str | None

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self.identity is not None and processes.process_identity(self.pid) == self.identity


@dataclass(frozen=True, slots=True)
class ContainerRef:
    """A container by its id."""

    container: str


@dataclass(frozen=True, slots=True)
class SlotState:
    """One of the two servers: its ports, its process (None if it was not started), and the versions of each model.

    `recordings` are those of FrontState that the process carries out.
    """

    ports: tuple[int, int]
    process: ProcessRef | ContainerRef | None = None
    versions: dict[str, list[int]] = field(default_factory=dict)
    recordings: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FrontState:
    """The whole state of a front. If it was killed, it continues from this state when it is started again.

    - `slots`: both servers; `stable_slot` is the one of the stable versions
    - `versions`: for each model the version that it answers with
    - `admin_folder`: the folder of the UNIX sockets, which only this user can enter
    - `generation`: the number of the newest routes; `applied`: of those that Envoy uses
    - `rollout`: the running rollout, or the last one
    - `recordings`: for each model whose requests are recorded, a RequestLogging as a document
    - `shadow`: the running shadow, or the last one; `collector` is its process, which serves the shadow with the id
      `collector_of` and was started `collector_starts` times
    - `command`: the id of the last command that was carried out, and `command_error`, `command_hint`
      and `command_code` are the message, the hint and the exit code of its error ("", "" and 0 if there was none)
    """

    slots: dict[Slot, SlotState]
    versions: dict[str, int]
    admin_folder: str
    stable_slot: Slot = "a"
    envoy: ProcessRef | None = None
    envoy_starts: int = 0
    generation: int = 0
    applied: int = 0
    rollout: Rollout | None = None
    recordings: dict[str, dict[str, Any]] = field(default_factory=dict)
    shadow: Shadow | None = None
    collector: ProcessRef | None = None
    collector_of: str = ""
    collector_starts: int = 0
    command: str = ""
    command_error: str = ""
    command_hint: str = ""
    command_code: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError if a server is missing."""
        if set(self.slots) != {"a", "b"}:
            raise ValueError(f"slots {sorted(self.slots)} instead of a and b")

    @property
    def other_slot(self) -> Slot:
        """The slot that is not the stable one."""
        return "b" if self.stable_slot == "a" else "a"

    @property
    def admin_socket(self) -> str:
        """The path of the socket of Envoy's admin interface."""
        return str(Path(self.admin_folder, "admin"))

    @property
    def shadow_socket(self) -> str:
        """The path of the socket on which the collector of a shadow receives copies."""
        return str(Path(self.admin_folder, "shadow"))

    @property
    def is_recording_settled(self) -> bool:
        """Whether all running servers have applied the recordings that are set for them."""
        running = {slot: one for slot, one in self.slots.items() if one.process is not None}
        return all(one.recordings == self.recordings_of(slot) for slot, one in running.items())

    def recordings_of(self, slot: Slot) -> dict[str, dict[str, Any]]:
        """What the server in a slot records. One that only answers the copies of a shadow records nothing."""
        rollout, shadow = self.rollout, self.shadow
        has_rollout = rollout is not None and rollout.is_active
        has_shadow = self.collector is not None or (shadow is not None and shadow.is_active)
        return {} if slot == self.other_slot and has_shadow and not has_rollout else self.recordings

    @property
    def needs_other_slot(self) -> bool:
        """Whether a rollout or a shadow uses the server in the other slot."""
        rollout, shadow = self.rollout, self.shadow
        return (rollout is not None and rollout.is_active) or (shadow is not None and shadow.is_active)

    def with_slot(self, slot: Slot, state: SlotState) -> FrontState:
        """The state with another state of one slot."""
        return replace(self, slots={**self.slots, slot: state})


class FrontFiles:
    """The files of the front of this name."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._folder = state_dir.front_folder(name)

    @property
    def folder(self) -> Path:
        """The folder of the files, which is created. Raises EngineError if it cannot be."""
        state_dir.subfolder("fronts")
        self._folder.mkdir(exist_ok=True, mode=0o700)
        return self._folder

    @property
    def exposure_log(self) -> Path:
        """The file to which Envoy logs the requests of an A/B test."""
        return self._folder / "exposures.log"

    @property
    def exposures(self) -> ExposureStore:
        """The counts of the last A/B test."""
        return ExposureStore(self._folder / "exposures.sqlite")

    def read(self) -> FrontState | None:
        """The state; None if there is none, or if another version of tfsctl wrote it."""
        document = _read_json(self._folder / "state.json")
        try:
            return None if document is None else from_document(FrontState, document)
        except ValueError:
            return None

    @property
    def collector(self) -> CollectorFiles:
        """The files of the collector of a shadow."""
        return CollectorFiles(self._folder)

    def write(self, state: FrontState) -> None:
        """Write the state. Raises EngineError."""
        state_dir.write_atomically(self.folder / "state.json", json.dumps(asdict(state)))

    def read_command(self) -> dict[str, Any] | None:
        """The last command: `id`, `action`, and the values of the action."""
        return _read_json(self._folder / "command.json")

    def write_command(self, command: dict[str, Any]) -> None:
        """Write a command for the front to carry out. Raises EngineError."""
        state_dir.write_atomically(self.folder / "command.json", json.dumps(command))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of this front: other operators wait."""
        with state_dir.lock(f"{self.name}.front"):
            yield

    def remove(self) -> None:
        """Remove all files."""
        shutil.rmtree(self._folder, ignore_errors=True)


class StateStore:
    """The state of a front: in memory, and in its file after each change. Only the front itself has one."""

    def __init__(self, files: FrontFiles, state: FrontState) -> None:
        self._files = files
        self.state = state

    def update(self, state: FrontState) -> None:
        """Replace the state, and write it if it differs. Raises EngineError."""
        if state != self.state:
            self.state = state
            self._files.write(state)


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        return cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
    except (OSError, RecursionError, ValueError):
        return None
