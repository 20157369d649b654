"""The main loop of a front: keeps Envoy and the servers running, carries out commands, and advances rollouts.

`tfsctl serve --front` starts it as `python -m tfsctl.rollout.front`. Its state is in a file. If it is
killed and started again, it continues from there: Envoy and the servers survive it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace

from tfsctl.engines import state_dir
from tfsctl.engines.launch_spec import EngineName, LaunchSpec
from tfsctl.errors import EngineError, ServerUnreachable, TfsctlError
from tfsctl.rollout.front import backends, children, decisions, handover, rollout_report, shadow_decisions, webhook
from tfsctl.rollout.front.child_supervisor import ChildSupervisor
from tfsctl.rollout.front.envoy.admin import read_statistics
from tfsctl.rollout.front.envoy.routes import PROTOCOLS, Slot, route_document
from tfsctl.rollout.front.exposure_counter import ExposureCounter
from tfsctl.rollout.front.front_files import FrontFiles, FrontState, StateStore
from tfsctl.rollout.front.request_counter import RequestCounter
from tfsctl.rollout.front.rollout_state import Rollout
from tfsctl.rollout.front.shadow_runner import ShadowRunner

TICK_S = 0.1
STATISTICS_S = 0.5
RECORDINGS_RETRY_S = 1.0


class Supervisor:
    """Runs one front until `should_stop` returns true."""

    def __init__(
        self,
        spec: LaunchSpec,
        engine: EngineName,
        say: Callable[[str], None],
        *,
        predecessor: handover.Predecessor | None = None,
    ) -> None:
        """Read the state of an earlier process of this front, or begin a new one.

        `predecessor` is a server that has the ports now. Raises what `find_configured` does.
        """
        self._spec, self._say = spec, say
        self._files = FrontFiles(spec.name)
        self._servers = backends.Backends(spec, engine)
        state = self._continue_rollout(self._files.read() or backends.new_state(spec))
        self._store = StateStore(self._files, state)
        self._children = ChildSupervisor(spec, self._servers, self._files, self._store, say, predecessor=predecessor)
        self._requests = RequestCounter(say)
        self._exposures = ExposureCounter(self._files, state.admin_socket, say)
        self._shadow = ShadowRunner(
            spec.name, self._files, say, lambda: self._children.log_tail(self._state.other_slot, 5)
        )
        self._is_leaving = False
        self._next_statistics = 0.0
        self._next_recordings = 0.0
        self._canary_deadline = 0.0
        self._retire_after: tuple[int, Slot] | None = None  # the generation of routes that do not use the slot

    @property
    def _state(self) -> FrontState:
        return self._store.state

    def _continue_rollout(self, state: FrontState) -> FrontState:
        """Continue the rollout of an earlier process. If its server has to be started first, the step begins again."""
        rollout = state.rollout
        server = state.slots[state.other_slot].process
        if rollout is None or not rollout.is_active or self._servers.runs(server):
            return state
        if rollout.status == "paused":
            return replace(state, rollout=rollout.ended("aborted", "the front was restarted"))
        return replace(state, rollout=replace(rollout, status="starting"))

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Supervise until `should_stop`; then stop Envoy and the servers. Raises EngineError if the start fails."""
        try:
            self._update_with_routes(self._state)
            while not should_stop() and not self._is_leaving:
                self._tick()
                time.sleep(TICK_S)
        finally:
            self._stop()

    def _tick(self) -> None:
        self._children.keep_running()
        self._execute_command()
        self._apply_recordings()
        now = time.monotonic()
        if now >= self._next_statistics or self._state.applied != self._state.generation:
            self._next_statistics = now + STATISTICS_S
            self._count_requests()
            self._exposures.update(self._state)
        rollout = self._state.rollout
        if rollout is not None and rollout.status == "starting":
            self._advance_start(rollout)
        elif rollout is not None and rollout.is_active:
            self._advance(rollout)
        self._advance_shadow()
        self._retire_idle_server()

    def _execute_command(self) -> None:
        """Carry out a new command."""
        command = self._files.read_command()
        if not command or command["id"] == self._state.command or self._retire_after is not None:
            return
        message, hint, code = "", "", 0
        try:
            new = decisions.carry_out(self._state, self._spec, command)
            if new.recordings == self._state.recordings:
                self._apply(new)
            else:
                self._store.update(new)
            self._is_leaving = command["action"] == "remove"
        except TfsctlError as error:
            message, hint, code = error.message, error.hint, int(error.exit_code)
        done = replace(self._state, command=command["id"], command_error=message, command_hint=hint, command_code=code)
        self._store.update(done)

    def _apply_recordings(self) -> None:
        """Apply changed recordings to the servers. A server that does not listen yet gets them later."""
        now = time.monotonic()
        for slot, one in self._state.slots.items():
            if one.process is None or one.recordings == self._state.recordings_of(slot) or now < self._next_recordings:
                continue
            changed = replace(one, recordings=self._state.recordings_of(slot))
            try:
                self._servers.apply_recordings(changed)
            except ServerUnreachable:
                self._next_recordings = time.monotonic() + RECORDINGS_RETRY_S
                continue
            except TfsctlError as error:
                self._say(f"{children.child_name(self._spec.name, slot)} does not record: {error.message}")
            self._store.update(self._state.with_slot(slot, changed))

    def _count_requests(self) -> None:
        """Add what Envoy has counted to the state."""
        try:
            found = read_statistics(self._state.admin_socket)
        except EngineError:
            return  # Envoy does not run yet, or was stopped
        self._children.is_serving = True
        self._shadow.count_lost(found.lost_copies)
        self._store.update(self._requests.add(self._state, found))

    def _advance_start(self, rollout: Rollout) -> None:
        """Begin the first step when the canary's server is ready. The rollout fails if it ends, or is not in time."""
        slot = self._state.slots[self._state.other_slot]
        if slot.process is None and not self._children.has_start_error(self._state.other_slot):
            return
        if not self._canary_deadline:
            self._canary_deadline, self._children.canary_exits = time.monotonic() + rollout.plan.timeout_s, 0
        if self._children.canary_exits or time.monotonic() > self._canary_deadline:
            lines = self._children.log_tail(self._state.other_slot, 5)
            reason = f"version {rollout.plan.version} was not ready in time: {' | '.join(lines)}"
            self._apply(replace(self._state, rollout=rollout.ended("failed", reason)))
        elif backends.is_ready(slot.ports, slot.versions) and slot.recordings == self._state.recordings:
            self._apply(replace(self._state, rollout=rollout.at_step(rollout.step)))
            self._canary_deadline = 0.0

    def _advance(self, rollout: Rollout) -> None:
        """Move a rollout on, by its counts and by how often the canary's server has ended."""
        exits = self._children.canary_exits
        if exits >= decisions.MAX_EXITS:
            reason = f"the server of version {rollout.plan.version} ended {exits} times"
            self._apply(decisions.on_breach(self._state, rollout, reason))
        else:
            self._apply(decisions.next_state(self._state, rollout))

    def _advance_shadow(self) -> None:
        """Move a shadow on: it begins, ends, or has new counts."""
        new = self._shadow.tick(self._state, exits=self._children.canary_exits, max_exits=decisions.MAX_EXITS)
        has_same_routes = decisions.routing(new) == decisions.routing(self._state)
        if has_same_routes and new.needs_other_slot == self._state.needs_other_slot:
            self._store.update(new)
        else:
            self._apply(new)

    def _retire_idle_server(self) -> None:
        """Stop a server that the routes do not use any more, once Envoy has the new routes and no collector uses it."""
        if self._retire_after is None or self._state.collector is not None:
            return
        generation, slot = self._retire_after
        if self._state.applied >= generation:
            self._children.retire(slot)
            self._retire_after = None

    def _apply(self, new: FrontState) -> None:
        """Replace the state: write its routes if they differ, report changes, and let an idle server be stopped."""
        old = self._state
        new = shadow_decisions.without_idle_shadow(old, new)
        if new == old:
            return
        if decisions.routing(new) == decisions.routing(old):
            self._store.update(new)
        else:
            self._update_with_routes(new)
        if old.needs_other_slot and not new.needs_other_slot:
            self._retire_after = (self._state.generation, self._state.other_slot)
            self._canary_deadline, self._children.canary_exits = 0.0, 0
        if new.shadow is not None and (old.shadow is None or new.shadow.status != old.shadow.status):
            self._say(shadow_decisions.describe_shadow(new.shadow))
        if new.rollout is not None and new.rollout != old.rollout:
            self._say(rollout_report.describe(new.rollout))
            if new.rollout.plan.on_change is not None:
                webhook.post(new.rollout.plan.on_change, rollout_report.report(new, self._spec.name), self._say)

    def _update_with_routes(self, new: FrontState) -> None:
        """Replace the state, and write its routes. Envoy reads them as soon as the files are renamed.

        The new state and the new generation are written together, before the routes. Commands return when the generation
        is applied, so they would return too early if the new state was ever seen with the last generation.
        """
        generation = self._state.generation + 1
        self._store.update(replace(new, generation=generation))
        routing = decisions.routing(new)
        for protocol in PROTOCOLS:
            document = route_document(routing, protocol, generation)
            state_dir.write_atomically(self._files.folder / f"{protocol}.json", json.dumps(document))
        self._requests.restart()
        self._next_statistics = 0.0

    def _stop(self) -> None:
        """Stop Envoy, then the servers. The versions stay in the state, for `tfsctl restart`."""
        self._exposures.close()
        if self._is_leaving:
            handover.send_clients_away(self._state.admin_socket)
        children.drain(self._state.admin_socket)
        children.stop(self._state.envoy)
        children.stop(self._state.collector)
        self._shadow.join()
        self._children.stop_servers()
        self._store.update(replace(self._state, envoy=None, collector=None, applied=0))
        children.remove_config_files(self._spec.name)
