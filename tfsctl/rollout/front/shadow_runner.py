"""Runs the shadow of a front: its collector is started, watched and stopped, and its counts are read."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tfsctl.rollout.front import children
from tfsctl.rollout.front.backends import is_ready
from tfsctl.rollout.front.envoy.bootstrap import BACKEND_HOST
from tfsctl.rollout.front.front_files import FrontFiles, FrontState
from tfsctl.rollout.shadow.collector_options import CollectorOptions
from tfsctl.rollout.shadow.shadow_state import Shadow

RESTART_S = 1.0  # the shortest time between two starts of a collector
HANG_S = 10.0  # a collector that has written no counts for this time hangs, and is killed


class ShadowRunner:
    """Keeps the collector running while a shadow is active. Call `tick` often."""

    def __init__(
        self, front: str, files: FrontFiles, say: Callable[[str], None], log_tail: Callable[[], list[str]]
    ) -> None:
        """`log_tail` returns the last lines of the log of the new version's server."""
        self._front, self._files, self._say, self._log_tail = front, files, say, log_tail
        self._deadline: tuple[str, float] = ("", 0.0)  # the id of a shadow, and when its version must be ready
        self._restart_at = 0.0
        self._last_heartbeat: tuple[object, float] = (None, 0.0)
        self._stopping: threading.Thread | None = None
        self._lost = (0, 0)  # lost copies: Envoy's count, and how many of them are not in the state yet

    def count_lost(self, total: int) -> None:
        """Take Envoy's count of the copies that it dropped. The count begins at 0 if Envoy is restarted."""
        counted, new = self._lost
        self._lost = (total, new + (total - counted if total >= counted else total))

    def tick(self, state: FrontState, *, exits: int, max_exits: int) -> FrontState:
        """The next state. `exits`: how often the new version's server has ended; after `max_exits` the shadow fails."""
        shadow = state.shadow
        is_active = shadow is not None and shadow.is_active
        if state.collector is not None and not state.collector.runs:
            if is_active and state.collector_of == (shadow.id if shadow else ""):
                self._say(f"{self._name} has ended; it is started again")
            state = replace(state, collector=None, collector_of="")
            if shadow is not None and not is_active:
                return self._read(state, shadow)  # the last counts
        if shadow is None:
            return state
        if state.collector is not None and (not is_active or state.collector_of != shadow.id):
            if not is_active and state.applied != state.generation:
                return state  # Envoy still copies to it
            return self._stop(state)
        if not is_active:
            return state
        if state.collector is None:
            state = self._start(state, shadow)
        state = self._read(state, shadow)
        shadow = state.shadow or shadow
        if self._lost[1]:
            shadow = replace(shadow, lost=shadow.lost + (self._lost[1] if shadow.status == "running" else 0))
            self._lost = (self._lost[0], 0)
            state = replace(state, shadow=shadow)
        return self._next_status(state, shadow, exits, max_exits)

    @property
    def _name(self) -> str:
        return children.child_name(self._front, "shadow")

    def _start(self, state: FrontState, shadow: Shadow) -> FrontState:
        if time.monotonic() < self._restart_at:
            return state
        self._restart_at = time.monotonic() + RESTART_S
        self._last_heartbeat = (None, time.monotonic())
        Path(state.admin_folder).mkdir(mode=0o700, exist_ok=True)
        options = CollectorOptions(
            shadow.id,
            shadow.plan,
            shadow.from_version,
            state.shadow_socket,
            str(self._files.folder),
            BACKEND_HOST,
            state.slots[state.other_slot].ports[1],
        )
        process = children.start_collector(self._front, options)
        starts = state.collector_starts + 1 if shadow.status == "running" else 1
        return replace(state, collector=process, collector_of=shadow.id, collector_starts=starts)

    def _stop(self, state: FrontState) -> FrontState:
        """Stop the collector in a thread: it first sends what is in its queue."""
        if self._stopping is None or not self._stopping.is_alive():
            self._stopping = threading.Thread(target=children.stop, args=(state.collector,))
            self._stopping.start()
        return state

    def _read(self, state: FrontState, shadow: Shadow) -> FrontState:
        """Read the counts, and kill a collector that hangs."""
        now = time.monotonic()
        found = self._files.collector.read_progress()
        if found is not None and found.shadow == shadow.id and found.beat != self._last_heartbeat[0]:
            self._last_heartbeat = (found.beat, now)
            return replace(state, shadow=replace(shadow, progress=replace(found, log_values=())))
        if shadow.is_active and state.collector is not None and now - self._last_heartbeat[1] > HANG_S:
            self._say(f"{self._name} hangs; it is killed")
            children.kill(state.collector)
        return state

    def _next_status(self, state: FrontState, shadow: Shadow, exits: int, max_exits: int) -> FrontState:
        """Begin to copy when both the server and the collector are ready; end when enough rows are compared."""
        slot, now = state.slots[state.other_slot], time.monotonic()
        version = f"version {shadow.plan.version} of {shadow.plan.model}"
        if exits >= max_exits:
            return replace(state, shadow=shadow.ended("failed", f"the server of {version} ended {exits} times"))
        if shadow.status == "starting":
            if self._deadline[0] != shadow.id:
                self._deadline = (shadow.id, now + shadow.plan.timeout_s)
            if shadow.progress is not None and slot.process and is_ready(slot.ports, slot.versions):
                return replace(state, shadow=replace(shadow, status="running"))
            if now > self._deadline[1]:
                reason = f"{version} was not ready in time: {' | '.join(self._log_tail())}"
                return replace(state, shadow=shadow.ended("failed", reason))
        elif shadow.progress is not None and shadow.progress.rows >= shadow.plan.max_rows:
            return replace(state, shadow=shadow.ended("completed", f"{shadow.progress.rows:,} rows are compared"))
        return state

    def join(self) -> None:
        """Wait for a collector that is being stopped."""
        if self._stopping is not None:
            self._stopping.join()
