"""Keeps Envoy and the servers of a front running: starts them, restarts those that have ended, and stops idle servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.errors import EngineError, TfsctlError
from tfsctl.rollout.front import backends, children, handover
from tfsctl.rollout.front.envoy.bootstrap import FrontAddresses
from tfsctl.rollout.front.envoy.routes import PROTOCOLS, Slot
from tfsctl.rollout.front.front_files import FrontFiles, SlotState, StateStore

RESTART_S = 1.0  # the shortest time between two starts of a child
MAX_ENVOY_EXITS = 2  # before the front is ready, after which it gives up


class ChildSupervisor:
    """Runs Envoy, and the server of each slot that the state needs.

    - `is_serving`: whether Envoy has answered since this process began; the Supervisor sets it
    - `canary_exits`: how often the server of the other slot has ended during this rollout or shadow
    """

    def __init__(
        self,
        spec: LaunchSpec,
        servers: backends.Backends,
        files: FrontFiles,
        store: StateStore,
        say: Callable[[str], None],
        *,
        predecessor: handover.Predecessor | None,
    ) -> None:
        self._spec, self._servers, self._files, self._store, self._say = spec, servers, files, store, say
        self._predecessor = predecessor
        self._start_errors: dict[Slot, str] = {}
        self._restart_at: dict[str, float] = {}
        self._retiring: list[threading.Thread] = []
        self._was_ready = False
        self._envoy_exits = 0
        self.is_serving = False
        self.canary_exits = 0

    def keep_running(self) -> None:
        """Start the children that do not run: the stable server, the canary's server during a rollout, and Envoy.

        Raises EngineError if the stable server or Envoy cannot be started, or ends, before the front was ever ready.
        """
        state = self._store.state
        wanted: list[Slot] = [state.stable_slot]
        if state.needs_other_slot:
            wanted.append(state.other_slot)
        for slot in wanted:
            if any(thread.is_alive() for thread in self._retiring):
                break  # a server that is being stopped still has the ports
            one = self._store.state.slots[slot]
            is_restart = one.process is not None or slot in self._start_errors
            if not self._servers.runs(one.process) and self._may_start(slot, is_restart=is_restart):
                self._start_server(slot, one)
        if not self._was_ready:
            stable = self._store.state.slots[self._store.state.stable_slot]
            self._was_ready = backends.is_ready(stable.ports, stable.versions)
        envoy = self._store.state.envoy
        must_start_envoy = self._was_ready and (envoy is None or not envoy.runs)
        if must_start_envoy and self._may_start("envoy", is_restart=envoy is not None):
            self._start_envoy()

    def _start_server(self, slot: Slot, one: SlotState) -> None:
        """Start the server of a slot. Raises EngineError if that fails before the front was ever ready."""
        self._start_errors.pop(slot, None)
        try:
            one = replace(one, recordings=self._store.state.recordings_of(slot))
            server = self._servers.start(slot, one)
        except TfsctlError as error:
            if not self.is_serving:
                raise
            self._start_errors[slot] = error.message
            self._say(f"{children.child_name(self._spec.name, slot)} cannot be started: {error.message}")
        else:
            self._store.update(self._store.state.with_slot(slot, replace(one, process=server)))

    def _start_envoy(self) -> None:
        shared = self._predecessor is not None and handover.request_ports(self._predecessor, self._spec)
        state, config, folder = self._store.state, self._spec.config, self._files.folder
        Path(state.admin_folder).mkdir(mode=0o700, exist_ok=True)
        addresses = FrontAddresses(
            self._spec.host,
            config.rest_port,
            config.grpc_port,
            {name: slot.ports for name, slot in state.slots.items()},
            {protocol: str(folder / f"{protocol}.json") for protocol in PROTOCOLS},
            state.admin_socket,
            str(self._files.exposure_log),
            state.shadow_socket,
            config.tls,
            shared=shared,
        )
        process = children.start_envoy(self._spec.name, addresses, folder)
        self._store.update(replace(state, envoy=process, envoy_starts=state.envoy_starts + 1, applied=0))

    def _may_start(self, child: Slot | Literal["envoy"], *, is_restart: bool) -> bool:
        """Whether to start a child now. The exit of one that is started again is counted and logged.

        A first start is immediate; restarts are at least RESTART_S apart. Raises EngineError for the stable server if it
        ends before it was ever ready, and for Envoy if it ends twice before the front was ready. One exit of Envoy is
        not enough, because clients may have been answered before the front knew of it.
        """
        now = time.monotonic()
        if is_restart and now < self._restart_at.get(child, 0.0):
            return False
        if is_restart:
            self._handle_exit(child)
        self._restart_at[child] = now + RESTART_S
        return True

    def _handle_exit(self, child: Slot | Literal["envoy"]) -> None:
        """Count and log the exit of a child. Raises EngineError as `_may_start` says."""
        name = children.child_name(self._spec.name, child)
        self._envoy_exits += child == "envoy"
        is_hopeless = self._envoy_exits >= MAX_ENVOY_EXITS if child == "envoy" else not self._was_ready
        if is_hopeless and not self.is_serving and child in self._restart_at:
            raise EngineError("\n".join([f"{name} ended:", *self.log_tail(child)]))
        self._say(f"{name} has ended; it is started again")
        state = self._store.state
        if state.needs_other_slot and child == state.other_slot:
            self.canary_exits += 1

    def has_start_error(self, slot: Slot) -> bool:
        """Whether the server of a slot could not be started at the last attempt."""
        return slot in self._start_errors

    def log_tail(self, child: Slot | Literal["envoy"], lines: int = 20) -> list[str]:
        """The last lines of the log of a child, or why it could not be started."""
        if child == "envoy":
            return children.log_tail(children.child_name(self._spec.name, child), lines)
        if child in self._start_errors:
            return [self._start_errors[child]]
        return self._servers.log_tail(child, self._store.state.slots[child].process, lines)

    def retire(self, slot: Slot) -> None:
        """Stop a server that receives no requests any more, in a thread: it answers the running ones first."""
        one = self._store.state.slots[slot]
        self._store.update(self._store.state.with_slot(slot, replace(one, process=None)))
        thread = threading.Thread(target=children.stop, args=(one.process,))
        thread.start()
        self._retiring.append(thread)

    def stop_servers(self) -> None:
        """Stop both servers. Returns when they have ended."""
        for slot in self._store.state.slots:
            self.retire(slot)
        for thread in self._retiring:
            thread.join()
        self._servers.close()
