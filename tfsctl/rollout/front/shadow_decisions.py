"""The transitions of a front for its shadow, and those that a canary and a shadow share."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tfsctl.core.model_dir import list_versions
from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.engines.state_document import from_document
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.rollout.front.front_files import FrontState
from tfsctl.rollout.front.rollout_state import Rollout
from tfsctl.rollout.shadow.shadow_state import Shadow, ShadowPlan


def check_version(state: FrontState, spec: LaunchSpec, model: str, version: int) -> None:
    """Raise NotFound if the version is not on disk, and InvalidInput if it is not higher than the stable one."""
    stable = state.versions[model]
    base = next(Path(one.base_path) for one in spec.config.models if one.name == model)
    on_disk = {found.version: found.path for found in list_versions(base)}
    if version not in on_disk:
        raise NotFound(
            f"{model} has no version {version}: {base} holds {', '.join(map(str, on_disk)) or 'none'}",
            hint=f"tfsctl versions {shlex.quote(str(base))} lists the versions",
        )
    if version == stable:
        raise InvalidInput(f"version {version} of {model} is already the stable version")
    if version < stable:
        copy = shlex.join(["cp", "-r", str(on_disk[version]), str(base / str(max(on_disk) + 1))])
        raise InvalidInput(
            f"version {version} of {model} is older than {stable}, which is stable",
            hint=f"{copy} makes it version {max(on_disk) + 1}, which can be rolled out",
        )


def with_new_server(state: FrontState, model: str, version: int) -> FrontState:
    """The state with a new server in the other slot, for the stable versions and this one. It is not started yet."""
    slot = state.other_slot
    versions = {name: [stable] for name, stable in state.versions.items()} | {model: [state.versions[model], version]}
    return state.with_slot(slot, replace(state.slots[slot], process=None, versions=versions))


def with_shadow(state: FrontState, plan: ShadowPlan, operator: str) -> FrontState:
    """The state with a new shadow, which replaces an earlier one."""
    return replace(state, shadow=Shadow(plan, state.versions[plan.model], operator, time.time()))


def start_shadow(state: FrontState, spec: LaunchSpec, command: Mapping[str, Any]) -> FrontState:
    """The state with a new shadow. Raises InvalidInput or NotFound if it cannot be started."""
    plan = from_document(ShadowPlan, command["plan"])
    rollout, shadow = state.rollout, state.shadow
    if rollout is not None and rollout.is_active:
        if (rollout.plan.model, rollout.plan.version) != (plan.model, plan.version):
            raise another_rollout_runs(rollout)
        if rollout.plan.min_agreement is not None:
            raise InvalidInput(f"the canary of version {plan.version} of {plan.model} has its own shadow")
        started = with_shadow(state, plan, command["operator"])
        refuse_recorded_copies(started, spec)
        return started
    check_version(state, spec, plan.model, plan.version)
    if shadow is None or not shadow.is_active:
        state = with_new_server(state, plan.model, plan.version)
    elif (shadow.plan.model, shadow.plan.version) != (plan.model, plan.version):
        raise another_shadow_runs(shadow, spec)
    return with_shadow(state, plan, command["operator"])


def another_rollout_runs(rollout: Rollout) -> InvalidInput:
    """The error that a rollout is running, so that another one, or a shadow of another version, cannot be started."""
    plan = rollout.plan
    return InvalidInput(
        f"version {plan.version} of {plan.model} is being rolled out "
        f"(started by {rollout.operator}, {rollout.status} at {rollout.percent:g} %)"
    )


def another_shadow_runs(shadow: Shadow, spec: LaunchSpec) -> InvalidInput:
    """The error that a shadow of another version is running."""
    plan = shadow.plan
    return InvalidInput(
        f"version {plan.version} of {plan.model} is being shadowed (started by {shadow.operator})",
        hint=f"tfsctl shadow {plan.model} --server {spec.name} --stop",
    )


def stop_shadow(state: FrontState, spec: LaunchSpec, command: Mapping[str, Any]) -> FrontState:
    """The state without the running shadow. Raises NotFound without one, and InvalidInput if a canary needs it."""
    rollout, shadow = state.rollout, state.shadow
    if shadow is None or not shadow.is_active:
        raise NotFound(
            f"no shadow of {spec.name} is running",
            hint=f"tfsctl shadow {spec.config.models[0].name} --version N --sample 0.1 starts one",
        )
    if rollout is not None and rollout.is_active and rollout.plan.min_agreement is not None:
        raise InvalidInput(f"the canary of version {rollout.plan.version} of {rollout.plan.model} needs the shadow")
    return replace(state, shadow=shadow.ended("stopped", f"by {command['operator']}"))


def has_canary_with_shadow(state: FrontState) -> bool:
    """Whether the server of a canary answers copies of a shadow as well."""
    rollout, shadow = state.rollout, state.shadow
    return rollout is not None and rollout.is_active and shadow is not None and shadow.is_active


def refuse_recorded_copies(state: FrontState, spec: LaunchSpec) -> None:
    """Raise InvalidInput if the copies of a shadow would be recorded."""
    if state.recordings and has_canary_with_shadow(state):
        models = ", ".join(state.recordings)
        raise InvalidInput(
            f"the requests of {models} are being recorded, and copies of the shadow would be, too",
            hint="; ".join(f"tfsctl record {spec.name} --model {model} --stop" for model in state.recordings),
        )


def without_idle_shadow(old: FrontState, new: FrontState) -> FrontState:
    """The new state, whose shadow has ended if the rollout of its version has just ended."""
    had_rollout = old.rollout is not None and old.rollout.is_active
    has_rollout = new.rollout is not None and new.rollout.is_active
    if had_rollout and not has_rollout and new.shadow is not None and new.shadow.is_active:
        return replace(new, shadow=new.shadow.ended("stopped", "the rollout has ended"))
    return new


def describe_shadow(shadow: Shadow) -> str:
    """One line about a shadow."""
    what = f"shadow of {shadow.plan.model} {shadow.from_version} and {shadow.plan.version}: {shadow.status}"
    return f"{what} ({shadow.reason})" if shadow.reason else what
