"""The process of a front: it keeps Envoy and the servers running, and carries out rollouts.

`tfsctl serve --front` starts it as `python -m tfsctl.rollout.front`. Its state is in a file, so that it goes on where
it was if it is killed and started again: Envoy and the servers survive it.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from tfsctl.engines import state_dir
from tfsctl.engines.launch_spec import EngineName, LaunchSpec
from tfsctl.errors import EngineError, ServerUnreachable, TfsctlError
from tfsctl.rollout.experiment.exposure_log import ExposureLog
from tfsctl.rollout.front import backends, children, decisions, handover, shadow_decisions, webhook
from tfsctl.rollout.front.envoy.admin import Statistics, read_statistics, reopen_logs
from tfsctl.rollout.front.envoy.bootstrap import HISTOGRAM_S, FrontAddresses
from tfsctl.rollout.front.envoy.routes import PROTOCOLS, SLOTS, Slot, cluster, route_document
from tfsctl.rollout.front.front_files import FrontFiles, FrontState, SlotState
from tfsctl.rollout.front.rollout_state import Rollout
from tfsctl.rollout.front.shadow_runner import ShadowRunner
from tfsctl.rollout.gate.slow_requests import Latencies

TICK_S = 0.1
STATISTICS_S = 0.5
RESTART_S = 1.0


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
        self.spec = spec
        self._say = say
        self._predecessor = predecessor
        self._is_leaving = False
        self._files = FrontFiles(spec.name)
        self._backends = backends.Backends(spec, engine)
        self._start_errors: dict[Slot, str] = {}
        self.state = self._files.read() or backends.new_state(spec)
        self._counted: Statistics | None = None
        self._count_from: float | None = None
        self._stable_latencies = Latencies({})
        self._next_statistics = 0.0
        self._restart_at: dict[str, float] = {}
        self._was_ready = self._is_serving = False
        self._envoy_ends = 0
        self._canary_deadline = 0.0
        self._retiring: list[threading.Thread] = []
        self._retire_after: tuple[int, Slot] | None = None
        self._canary_ends = 0
        self._exposures = ExposureLog(self._files.exposure_log, self._files.exposures, self._reopen_logs)
        self._exposures_fail = False
        self._next_recordings = 0.0
        self._shadow = ShadowRunner(spec.name, self._files, say, lambda: self._log_tail(self.state.other_slot, 5))
        self._recover_rollout()

    def _recover_rollout(self) -> None:
        """Continue the rollout of an earlier process. If its server has to be started first, the step begins again."""
        rollout = self.state.rollout
        server = self.state.slots[self.state.other_slot].process
        if rollout is None or not rollout.is_active or self._backends.runs(server):
            return
        if rollout.status == "paused":
            rollout = rollout.ended("aborted", "the front was restarted")
        else:
            rollout = replace(rollout, status="starting")
        self.state = replace(self.state, rollout=rollout)

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Supervise until `should_stop`; then stop Envoy and the servers. Raises EngineError if the start fails."""
        try:
            self._route()
            while not should_stop() and not self._is_leaving:
                self._tick()
                time.sleep(TICK_S)
        finally:
            self._stop()

    def _tick(self) -> None:
        self._keep_running()
        self._execute_command()
        self._apply_recordings()
        now = time.monotonic()
        if now >= self._next_statistics or self.state.applied != self.state.generation:
            self._next_statistics = now + STATISTICS_S
            self._count()
            self._count_exposures()
        rollout = self.state.rollout
        if rollout is not None and rollout.is_active:
            self._advance(rollout)
        self._advance_shadow()
        is_unused = self._retire_after is not None and self.state.applied >= self._retire_after[0]
        if self._retire_after is not None and is_unused and self.state.collector is None:
            self._retire(self._retire_after[1])
            self._retire_after = None

    def _keep_running(self) -> None:
        """Start what does not run: the stable server, the canary's server during a rollout, and Envoy."""
        wanted: list[Slot] = [self.state.stable_slot]
        if self.state.needs_other_slot:
            wanted.append(self.state.other_slot)
        for slot in wanted:
            if any(thread.is_alive() for thread in self._retiring):
                break  # a server that is being stopped has the ports still
            one = self.state.slots[slot]
            again = one.process is not None or slot in self._start_errors
            if not self._backends.runs(one.process) and self._may_start(slot, again=again):
                self._start_server(slot, one)
        if not self._was_ready:
            stable = self.state.slots[self.state.stable_slot]
            self._was_ready = backends.is_ready(stable.ports, stable.versions)
        envoy = self.state.envoy
        if self._was_ready and (envoy is None or not envoy.runs) and self._may_start("envoy", again=envoy is not None):
            shared = self._predecessor is not None and handover.request_ports(self._predecessor, self.spec)
            addresses = replace(self._addresses(), shared=shared)
            process = children.start_envoy(self.spec.name, addresses, self._files.folder)
            self._update(replace(self.state, envoy=process, envoy_starts=self.state.envoy_starts + 1, applied=0))

    def _start_server(self, slot: Slot, one: SlotState) -> None:
        """Start the server of a slot. Raises EngineError if that fails before the front was ever ready."""
        self._start_errors.pop(slot, None)
        try:
            one = replace(one, recordings=self.state.recordings_of(slot))
            server = self._backends.start(slot, one)
        except TfsctlError as error:
            if not self._is_serving:
                raise
            self._start_errors[slot] = error.message
            self._say(f"{children.child_name(self.spec.name, slot)} cannot be started: {error.message}")
        else:
            self._update(self.state.with_slot(slot, replace(one, process=server)))

    def _may_start(self, child: Slot | Literal["envoy"], *, again: bool) -> bool:
        """Whether to start a child now: at once, and then at most once in RESTART_S.

        Raises EngineError for the stable server if it ends before it was ever ready, and for Envoy if it ends twice
        before the front was. Once is not enough: clients may have been answered before the front knew of it.
        """
        now = time.monotonic()
        if again and now < self._restart_at.get(child, 0.0):
            return False
        if again:
            name = children.child_name(self.spec.name, child)
            self._envoy_ends += child == "envoy"
            is_hopeless = self._envoy_ends > 1 if child == "envoy" else not self._was_ready
            if is_hopeless and not self._is_serving and child in self._restart_at:
                raise EngineError("\n".join([f"{name} ended:", *self._log_tail(child)]))
            self._say(f"{name} has ended; it is started again")
            if self.state.needs_other_slot and child == self.state.other_slot:
                self._canary_ends += 1
        self._restart_at[child] = now + RESTART_S
        return True

    def _log_tail(self, child: Slot | Literal["envoy"], lines: int = 20) -> list[str]:
        """The last lines of the log of a child, or why it could not be started."""
        if child == "envoy":
            return children.log_tail(children.child_name(self.spec.name, child), lines)
        if child in self._start_errors:
            return [self._start_errors[child]]
        return self._backends.log_tail(child, self.state.slots[child].process, lines)

    def _execute_command(self) -> None:
        """Carry out a new command."""
        command = self._files.read_command()
        if not command or command["id"] == self.state.command or self._retire_after is not None:
            return
        message, hint, code = "", "", 0
        try:
            new = decisions.carry_out(self.state, self.spec, command)
            if new.recordings == self.state.recordings:
                self._decide(new)
            else:
                self._update(new)
            self._is_leaving = command["action"] == "remove"
        except TfsctlError as error:
            message, hint, code = error.message, error.hint, int(error.exit_code)
        done = replace(self.state, command=command["id"], command_error=message, command_hint=hint, command_code=code)
        self._update(done)

    def _apply_recordings(self) -> None:
        """Tell the servers what to record. One that does not listen yet is told later."""
        now = time.monotonic()
        for slot, one in self.state.slots.items():
            if one.process is None or one.recordings == self.state.recordings_of(slot) or now < self._next_recordings:
                continue
            changed = replace(one, recordings=self.state.recordings_of(slot))
            try:
                self._backends.apply_recordings(changed)
            except ServerUnreachable:
                self._next_recordings = time.monotonic() + RESTART_S
                continue
            except TfsctlError as error:
                self._say(f"{children.child_name(self.spec.name, slot)} does not record: {error.message}")
            self._update(self.state.with_slot(slot, changed))

    def _count(self) -> None:
        """Add what Envoy counted to the rollout. Requests of old routes are not counted."""
        try:
            found = read_statistics(self._addresses().admin)
        except EngineError:
            return
        self._is_serving = True
        self._shadow.count_lost(found.lost_copies)
        before, self._counted = self._counted, None
        if found.generation != self.state.applied:
            self._update(replace(self.state, applied=found.generation))
        if found.generation != self.state.generation:
            return
        now = time.monotonic()
        if self._count_from is None:
            self._count_from = now + 2 * HISTOGRAM_S  # the histograms still receive requests of the old routes
        if now < self._count_from:
            return
        self._counted = found
        rollout = self.state.rollout
        if before is None or rollout is None or rollout.status not in ("running", "paused"):
            return
        new = self._measure_threshold(rollout, before, found)
        stable, canary = (
            found.counts(slot, rollout.slow_ms).since(before.counts(slot, rollout.slow_ms))
            for slot in (self.state.stable_slot, self.state.other_slot)
        )
        new = new.counted(stable, canary)
        if new != rollout:
            self._update(replace(self.state, rollout=new))

    def _measure_threshold(self, rollout: Rollout, before: Statistics, found: Statistics) -> Rollout:
        """Set the threshold of slow requests once the stable version has answered enough of them."""
        rule = rollout.plan.slow_rule
        if rule is None or rollout.slow_ms is not None:
            self._stable_latencies = Latencies({})
            return rollout
        slot = self.state.stable_slot
        self._stable_latencies += found.latencies(slot).since(before.latencies(slot))
        threshold_ms = self._stable_latencies.threshold_ms(rule)
        if threshold_ms is None:
            return rollout
        self._say(f"requests that take {threshold_ms:g} ms or more are slow ({rule.text} of the stable version)")
        return rollout.with_slow_threshold(threshold_ms)

    def _count_exposures(self) -> None:
        """Count the requests of the A/B test that runs or was the last. A failure is logged once."""
        rollout = self.state.rollout
        if rollout is None or rollout.plan.experiment is None:
            return
        ab_slot = self.state.stable_slot if rollout.status == "promoted" else self.state.other_slot
        version_of = {
            cluster(slot, protocol, split=True): rollout.plan.version if slot == ab_slot else rollout.from_version
            for slot in SLOTS
            for protocol in PROTOCOLS
        }
        try:
            self._exposures.update(rollout.plan.experiment, decisions.describe_test(rollout), version_of)
            self._exposures_fail = False
        except (sqlite3.Error, OSError) as error:
            if not self._exposures_fail:
                self._say(f"the requests of the A/B test cannot be counted: {error}")
            self._exposures_fail = True

    def _reopen_logs(self) -> None:
        try:
            reopen_logs(self._addresses().admin)
        except EngineError as error:
            self._say(error.message)

    def _advance(self, rollout: Rollout) -> None:
        """Decide what follows from the counts, or from the start of the canary's server."""
        slot = self.state.slots[self.state.other_slot]
        if rollout.status == "starting":
            if slot.process is None and self.state.other_slot not in self._start_errors:
                return
            if not self._canary_deadline:
                self._canary_deadline, self._canary_ends = time.monotonic() + rollout.plan.timeout_s, 0
            if self._canary_ends or time.monotonic() > self._canary_deadline:
                lines = self._log_tail(self.state.other_slot, 5)
                reason = f"version {rollout.plan.version} was not ready in time: {' | '.join(lines)}"
                self._decide(replace(self.state, rollout=rollout.ended("failed", reason)))
            elif backends.is_ready(slot.ports, slot.versions) and slot.recordings == self.state.recordings:
                self._decide(replace(self.state, rollout=rollout.at_step(rollout.step)))
                self._canary_deadline = 0.0
            return
        if self._canary_ends >= decisions.MAX_ENDS:
            reason = f"the server of version {rollout.plan.version} ended {self._canary_ends} times"
            self._decide(decisions.on_breach(self.state, rollout, reason))
            return
        self._decide(decisions.next_state(self.state, rollout))

    def _advance_shadow(self) -> None:
        """Decide what follows for a shadow: it begins, ends, or has new counts."""
        socket = _admin_folder(self.state) / "shadow"
        new = self._shadow.tick(self.state, socket, ends=self._canary_ends, max_ends=decisions.MAX_ENDS)
        if (
            decisions.routing(new) == decisions.routing(self.state)
            and new.needs_other_slot == self.state.needs_other_slot
        ):
            if new != self.state:
                self._update(new)
        else:
            self._decide(new)

    def _decide(self, new: FrontState) -> None:
        """Take over a new state: write the routes if they differ, tell the operator, and stop a server not needed."""
        old = self.state
        new = shadow_decisions.without_idle_shadow(old, new)
        if new == old:
            return
        routing_before = decisions.routing(old)
        self._update(new)
        if decisions.routing(new) != routing_before:
            self._route()
        if old.needs_other_slot and not new.needs_other_slot:
            self._retire_after = (self.state.generation, self.state.other_slot)
            self._canary_deadline, self._canary_ends = 0.0, 0
        if new.shadow is not None and (old.shadow is None or new.shadow.status != old.shadow.status):
            self._say(shadow_decisions.describe_shadow(new.shadow))
        if new.rollout is not None and new.rollout != old.rollout:
            self._say(decisions.describe(new.rollout))
            if new.rollout.plan.on_change is not None:
                webhook.post(new.rollout.plan.on_change, decisions.report(new, self.spec.name), self._say)

    def _route(self) -> None:
        """Write the routes of the current state. Envoy reads them as soon as the files are renamed."""
        generation = self.state.generation + 1
        routing = decisions.routing(self.state)
        for protocol in PROTOCOLS:
            document = route_document(routing, protocol, generation)
            state_dir.write_atomically(self._files.folder / f"{protocol}.json", json.dumps(document))
        self._counted = self._count_from = None
        self._next_statistics = 0.0
        self._update(replace(self.state, generation=generation))

    def _retire(self, slot: Slot) -> None:
        """Stop a server that receives no requests any more, once it has answered the running ones."""
        one = self.state.slots[slot]
        self._update(self.state.with_slot(slot, replace(one, process=None)))
        thread = threading.Thread(target=children.stop, args=(one.process,))
        thread.start()
        self._retiring.append(thread)

    def _stop(self) -> None:
        """Stop Envoy, then the servers. The versions stay in the state, for `tfsctl restart`."""
        self._exposures.close()
        if self._is_leaving:
            handover.send_clients_away(self._addresses().admin)
        children.drain(self._addresses().admin)
        children.stop(self.state.envoy)
        children.stop(self.state.collector)
        self._shadow.join()
        for slot in self.state.slots:
            self._retire(slot)
        for thread in self._retiring:
            thread.join()
        self._update(replace(self.state, envoy=None, collector=None, applied=0))
        self._backends.close()
        children.remove_config_files(self.spec.name)

    def _addresses(self) -> FrontAddresses:
        config, folder = self.spec.config, self._files.folder
        return FrontAddresses(
            self.spec.host,
            config.rest_port,
            config.grpc_port,
            {name: slot.ports for name, slot in self.state.slots.items()},
            {protocol: str(folder / f"{protocol}.json") for protocol in PROTOCOLS},
            str(_admin_folder(self.state) / "admin"),
            str(self._files.exposure_log),
            str(_admin_folder(self.state) / "shadow"),
            config.tls,
        )

    def _update(self, state: FrontState) -> None:
        self.state = state
        self._files.write(state)


def _admin_folder(state: FrontState) -> Path:
    """The folder of the admin socket, which only this user can enter."""
    folder = Path(state.admin_folder)
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder
