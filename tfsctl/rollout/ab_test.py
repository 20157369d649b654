"""A/B tests on a front: start one, and read its results, with outcomes that are joined from a file.

An A/B test is a rollout with an id (`RolloutPlan.experiment`): the front splits, watches and ends it like a canary.
"""

from __future__ import annotations

import re
import sqlite3
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tfsctl.core.model_dir import parse_version
from tfsctl.engines.launch_spec import LaunchSpec
from tfsctl.engines.registry.tracked_server import TrackedServer
from tfsctl.errors import EngineError, InvalidInput, NotFound, NotReadyInTime
from tfsctl.rollout.experiment.difference import split_p_value
from tfsctl.rollout.experiment.exposure_log import HEADER
from tfsctl.rollout.experiment.exposure_store import ArmCounts, ExposureStore
from tfsctl.rollout.experiment.outcomes import Outcomes, join_outcomes
from tfsctl.rollout.front import operations
from tfsctl.rollout.front.envoy.routes import VERSION_HEADER
from tfsctl.rollout.front.front_files import FrontFiles, FrontState
from tfsctl.rollout.front.rollout_state import OnBreach, RolloutPlan
from tfsctl.rollout.labels.planning import STABLE

REQUEST_ID = "x-request-id"
_POLL_S = 0.05
_ARM = re.compile(r"(?P<version>[^=\s]+)=(?P<weight>\d+(?:\.\d+)?)%?")
_HINT = "tfsctl ab NAME 3=50 4=50"


@dataclass(frozen=True, slots=True)
class Results:
    """The results of an A/B test.

    - `description`: what the front stored at its start: `model`, `a`, `b`, `percent_b`, `sticky`, `started_at`
    - `status`: as of the rollout; `ended` if another rollout followed
    - `arms`: the requests of each version
    - `keys_of_both`: the number of keys that both versions answered; they have no outcome
    - `split_p_value`: the p-value of these numbers of keys per arm, if keys are split by the weights
    """

    server: str
    description: Mapping[str, Any]
    status: str
    arms: Mapping[int, ArmCounts]
    keys_of_both: int
    split_p_value: float
    outcomes: Outcomes | None = None

    def document(self) -> dict[str, Any]:
        """Convert to JSON values. The keys are documented in docs/reference.md."""
        about = self.description
        arms = [
            {
                "arm": name,
                "version": about[name],
                "percent": about["percent_b"] if name == "b" else 100 - about["percent_b"],
                "requests": counts.requests,
                "errors": counts.errors,
                "keys": counts.keys,
                "without_key": counts.without_key,
                "latency_ms": counts.percentiles_ms(),
            }
            for name in ("a", "b")
            for counts in [self.arms.get(about[name], ArmCounts())]
        ]
        return {
            "server": self.server,
            "model": about["model"],
            "status": self.status,
            "sticky": about["sticky"],
            "operator": about["operator"],
            "started_at": about["started_at"],
            "arms": arms,
            "keys_of_both": self.keys_of_both,
            "split_p_value": self.split_p_value,
            "outcomes": None if self.outcomes is None else self.outcomes.document(),
        }


def parse_arms(arms: Sequence[str]) -> list[tuple[str, float]]:
    """`A=50`, `B=50` as versions or labels and weights. Raises InvalidInput."""
    found = []
    for arm in arms:
        match = _ARM.fullmatch(arm)
        if match is None or not float(match["weight"]):
            raise InvalidInput(f"{arm} is not VERSION=WEIGHT", hint=_HINT)
        found.append((match["version"], float(match["weight"])))
    if len(found) != 2:
        raise InvalidInput(f"an A/B test has two versions, not {len(found)}", hint=_HINT)
    return found


def check_sticky(header: str) -> str:
    """The name of a header in lower case. Raises InvalidInput for an invalid name, or one that the front itself uses."""
    name = header.lower()
    if not re.fullmatch(r"[a-z0-9_-]+", name) or name in (VERSION_HEADER, HEADER):
        raise InvalidInput(f"--sticky {header!r} is not the name of a header", hint="--sticky user-id")
    return name


def start(
    front: TrackedServer,
    model: str,
    arms: Sequence[str],
    *,
    sticky: str | None = None,
    alpha: float = 0.01,
    on_breach: OnBreach = "rollback",
    on_change: str | None = None,
    timeout_s: float = 60.0,
) -> FrontState:
    """Start an A/B test. Returns when the split is in effect.

    One of the arms must be the stable version. Without `sticky`, each request is assigned by its header `x-request-id`.
    Raises InvalidInput and NotFound if it cannot be started, EngineError if the new version does not start, and
    NotReadyInTime.
    """
    weights = parse_arms(arms)
    header = check_sticky(sticky) if sticky is not None else REQUEST_ID
    stable = operations.read_state(front).versions[model]
    versions = [_version(name, front, model, stable) for name, _ in weights]
    if versions[0] == versions[1]:
        raise InvalidInput(f"both arms are version {versions[0]} of {model}", hint=_HINT)
    if stable not in versions:
        raise InvalidInput(
            f"one arm must be the stable version of {model}, which is {stable}",
            hint=f"tfsctl ab {model} {stable}=50 {max(versions)}=50",
        )
    new = 1 - versions.index(stable)
    percent = 100 * weights[new][1] / (weights[0][1] + weights[1][1])
    if not 0.01 <= percent <= 99.99:
        raise InvalidInput(f"version {versions[new]} would receive {percent:g} %", hint="use weights such as 90 and 10")
    plan = RolloutPlan(
        model=model,
        version=versions[new],
        steps=(percent,),
        interval_s=None,
        min_requests=(1,),
        alpha=alpha,
        on_breach=on_breach,
        sticky=header,
        on_change=on_change,
        timeout_s=timeout_s,
        experiment=uuid.uuid4().hex,
    )
    state = operations.start_rollout(front, plan)
    if state.rollout is not None and state.rollout.status == "failed":
        raise EngineError(state.rollout.reason, hint=f"tfsctl logs {front.record.name} --tail 20")
    _wait_for_store(store_of(front), plan.experiment, front.record.name)
    return state


def _wait_for_store(store: ExposureStore, experiment: str | None, server: str) -> None:
    """Wait until the front counts the requests of the A/B test. Raises NotReadyInTime."""
    deadline = time.monotonic() + operations.ANSWER_S
    while store.experiment() != experiment:
        if time.monotonic() > deadline:
            raise NotReadyInTime(
                f"the front {server} does not count the requests of the A/B test",
                hint=f"tfsctl logs {server} --tail 20",
            )
        time.sleep(_POLL_S)


def stop(front: TrackedServer) -> FrontState:
    """End the A/B test that runs: all traffic goes to the stable version. Its results are kept.

    Raises NotFound if none is running.
    """
    rollout = operations.read_state(front).rollout
    if rollout is None or not rollout.is_active or rollout.plan.experiment is None:
        raise NotFound(f"no A/B test is running on {front.record.name}", hint=f"{_HINT} starts one")
    return operations.finish_rollout(front, "abort")


def store_of(front: TrackedServer) -> ExposureStore:
    """The requests of the A/B test of a front."""
    return FrontFiles(front.record.name).exposures


def read_results(front: TrackedServer) -> Results:
    """The results of the A/B test that runs, or of the last one. Raises NotFound if there was none, and EngineError."""
    store = store_of(front)
    try:
        description = store.describe()
        if description is None:
            raise NotFound(f"there was no A/B test on {front.record.name}", hint=f"{_HINT} starts one")
        arms, keys_of_both = store.arms(), store.keys_of_several_versions()
        experiment = store.experiment()
    except sqlite3.Error as error:
        raise EngineError(f"the requests of the A/B test cannot be read from {store.path}: {error}") from error
    rollout = operations.read_state(front).rollout
    is_last = rollout is not None and rollout.plan.experiment == experiment
    in_a, in_b = (arms.get(description[arm], ArmCounts()).keys for arm in ("a", "b"))
    p_value = split_p_value(in_a, in_b, description["percent_b"] / 100)
    status = rollout.status if rollout is not None and is_last else "ended"
    return Results(front.record.name, description, status, arms, keys_of_both, p_value)


def with_outcomes(
    results: Results,
    front: TrackedServer,
    file: Path,
    *,
    key_column: str | None = None,
    outcome_column: str | None = None,
    missing: float | None = None,
    confidence: float = 0.95,
    note: Callable[[str], None] = lambda _text: None,
) -> Results:
    """The results with the outcomes of a file. Raises what `join_outcomes` raises."""
    about = results.description
    found = join_outcomes(
        file,
        store_of(front),
        (about["a"], about["b"]),
        key_column=key_column,
        outcome_column=outcome_column,
        key_header=about["sticky"],
        missing=missing,
        confidence=confidence,
        note=note,
    )
    return replace(results, outcomes=found)


def _version(name: str, front: TrackedServer, model: str, stable: int) -> int:
    """The version that an arm names by its number or label. Raises NotFound for an unknown label."""
    version = parse_version(name)
    if version is not None:
        return version
    spec = LaunchSpec.of_server(front.record.name, front.launch)
    labels = next(config.labels for config in spec.config.models if config.name == model)
    if name in labels:
        return labels[name]
    if name == STABLE:
        return stable
    known = ", ".join(sorted({*labels, STABLE}))
    raise NotFound(
        f"{model} has no label {name!r} on this front", hint=f"its labels are {known}; a version is a number"
    )
