"""`tfsctl canary`: send a part of the traffic to a new version, and watch its errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tfsctl.cli.options.front_options import (
    DEFAULT_ALPHA,
    DEFAULT_SAMPLE,
    AlphaOption,
    FrontOption,
    OnChangeOption,
    OptionalModelArgument,
    only_model,
)
from tfsctl.cli.options.output_options import JsonOption
from tfsctl.cli.options.quantities import parse_duration, parse_share
from tfsctl.cli.options.running_server_options import DEFAULT_WAIT_TIMEOUT_S, WaitTimeoutOption
from tfsctl.cli.output import rollout_report, terminal
from tfsctl.errors import EngineError, InvalidInput

if TYPE_CHECKING:
    from tfsctl.engines.registry.tracked_server import TrackedServer
    from tfsctl.rollout.gate.slow_requests import SlowRule

DEFAULT_INTERVAL = "60s"


def canary(
    name: OptionalModelArgument = None,
    *,
    version: Annotated[int, typer.Option("--version", min=0, metavar="N", help="The new version.")],
    percent: Annotated[
        float | None,
        typer.Option(
            "--percent",
            min=0.01,
            max=100,
            metavar="P",
            help="The percentage of the traffic for the new version, until `tfsctl promote`.",
        ),
    ] = None,
    steps: Annotated[
        str | None,
        typer.Option(
            "--steps",
            metavar="P,P,…",
            help="Increase the percentage in these steps; 100 at the end promotes the version.",
        ),
    ] = None,
    interval: Annotated[
        str | None,
        typer.Option(
            "--interval", metavar="TIME", help=f"The minimum duration of a step (default: {DEFAULT_INTERVAL})."
        ),
    ] = None,
    min_requests: Annotated[
        int | None,
        typer.Option(
            "--min-requests",
            min=1,
            metavar="N",
            help="The minimum number of requests in a step (default: enough for a 50 % chance to notice what is printed).",
        ),
    ] = None,
    sticky: Annotated[
        str | None,
        typer.Option(
            "--sticky",
            metavar="HEADER",
            help="Send all requests with the same value of this header to the same version.",
        ),
    ] = None,
    on_breach: Annotated[
        Literal["rollback", "pause"],
        typer.Option("--on-breach", help="What to do if the new version is significantly worse."),
    ] = "rollback",
    alpha: AlphaOption = DEFAULT_ALPHA,
    slow: Annotated[
        str | None,
        typer.Option(
            "--slow",
            metavar="TIME|pNN",
            help="Compare the slow requests too: those that take 50ms, or p99 (2xp99) of the stable version, or more.",
        ),
    ] = None,
    min_agreement: Annotated[
        str | None,
        typer.Option(
            "--min-agreement",
            metavar="SHARE",
            help="Shadow the new version too: at least this share of its predictions must agree with the stable ones.",
        ),
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option(
            "--sample",
            metavar="SHARE",
            help=f"The share of the requests to shadow for --min-agreement (default: {DEFAULT_SAMPLE}).",
        ),
    ] = None,
    on_change: OnChangeOption = None,
    server: FrontOption = None,
    wait_timeout: WaitTimeoutOption = DEFAULT_WAIT_TIMEOUT_S,
    as_json: JsonOption = False,
) -> None:
    """Send a part of the traffic to a new version.

    Works with servers that were started with `serve --front`: the front is an Envoy proxy. Returns when the first
    percentage is in effect. The front then compares the errors of both versions, with --slow their slow requests, and
    with --min-agreement their predictions. If the new one is significantly worse, it is rolled back. `tfsctl rollout
    status` shows progress, `tfsctl promote` and `tfsctl rollback` end the rollout.

    \b
    Examples:
      tfsctl canary review --version 3 --percent 10
      tfsctl canary review --version 3 --steps 1,5,25,100 --interval 5m
      tfsctl canary review --version 3 --percent 10 --sticky user-id --on-breach pause
      tfsctl canary review --version 3 --percent 10 --slow 2xp99 --min-agreement 98%
    """
    from tfsctl.rollout.ab_test import check_sticky
    from tfsctl.rollout.front import operations, webhook
    from tfsctl.rollout.front.rollout_report import report
    from tfsctl.rollout.front.rollout_state import RolloutPlan, alpha_per_gate
    from tfsctl.rollout.gate.slow_requests import parse_slow_rule
    from tfsctl.rollout.shadow.shadow_state import ShadowPlan

    percentages = _percentages(percent, steps)
    if steps is None and (interval is not None or min_requests is not None):
        raise InvalidInput("--interval and --min-requests belong to --steps", hint="--steps 1,5,25,100")
    header = None if sticky is None else check_sticky(sticky)
    if on_change is not None:
        webhook.check(on_change)
    duration = None if steps is None else parse_duration(interval or DEFAULT_INTERVAL, "--interval")
    slow_rule = None if slow is None else parse_slow_rule(slow)
    agreement, share = _agreement_and_sample(min_agreement, sample)
    front = operations.find_front(name, server=server)
    model = only_model(name, front.record.models, "canary")
    _check_version(front, model, version)
    gate_alpha = alpha_per_gate(alpha, slow=slow, min_agreement=agreement)
    needed = [min_requests or forecast for forecast in _say_forecasts(percentages, slow_rule, gate_alpha)]
    samples = 0 if agreement is None else _say_agreement_forecast(agreement, share, gate_alpha)
    plan = RolloutPlan(
        model=model,
        version=version,
        steps=percentages,
        interval_s=duration,
        min_requests=tuple(needed),
        alpha=alpha,
        on_breach=on_breach,
        sticky=header,
        on_change=on_change,
        timeout_s=wait_timeout,
        slow=slow,
        min_agreement=agreement,
        min_samples=samples,
    )
    shadow = ShadowPlan(model, version, share, min_agreement=agreement, timeout_s=wait_timeout)
    with terminal.waiting(f"loading version {version} of {plan.model}"):
        state = operations.start_rollout(front, plan, shadow)
    document = report(state, front.record.name)
    if state.rollout is not None and state.rollout.status == "failed":
        raise EngineError(state.rollout.reason, hint=f"tfsctl rollout status --server {front.record.name}")
    if as_json:
        terminal.answer_json(document)
        return
    terminal.answer(rollout_report.summary(document["rollout"]))
    terminal.say(f"to watch it: tfsctl rollout status {plan.model} --watch")


def _check_version(front: TrackedServer, model: str, version: int) -> None:
    """Raise NotFound or InvalidInput for a version that cannot be rolled out, before anything is printed.

    Does nothing while a rollout is running: the front then changes its plan, or refuses. The front checks again.
    """
    from tfsctl.engines.launch_spec import LaunchSpec
    from tfsctl.rollout.front import operations, shadow_decisions

    state = operations.read_state(front)
    if state.rollout is None or not state.rollout.is_active:
        spec = LaunchSpec.of_server(front.record.name, front.launch)
        shadow_decisions.check_version(state, spec, model, version)


def _agreement_and_sample(min_agreement: str | None, sample: str | None) -> tuple[float | None, float]:
    """The values of --min-agreement and --sample as fractions. Raises InvalidInput."""
    if min_agreement is None:
        if sample is not None:
            raise InvalidInput("--sample belongs to --min-agreement", hint="--min-agreement 98%")
        return None, parse_share(DEFAULT_SAMPLE, "--sample")
    agreement = parse_share(min_agreement, "--min-agreement")
    if agreement == 1:
        raise InvalidInput(
            f"--min-agreement {min_agreement}: no test can prove that all agree", hint="--min-agreement 99.9%"
        )
    return agreement, parse_share(sample or DEFAULT_SAMPLE, "--sample")


def _say_forecasts(percentages: tuple[float, ...], slow_rule: SlowRule | None, gate_alpha: float) -> list[int]:
    """Print what each step can detect. Returns how many requests each step needs for that in half of all cases."""
    from tfsctl.rollout.gate.forecast import CANARY_RATE, STABLE_RATE, forecast

    needed = []
    for percent in percentages:
        found = forecast(percent / 100, alpha=gate_alpha)
        rollout_report.say_forecast(percent, found, "errors", CANARY_RATE, STABLE_RATE)
        medians = [found.median]
        if slow_rule is not None and percent < 100:
            rates = slow_rule.canary_rate, slow_rule.stable_rate
            found = forecast(percent / 100, alpha=gate_alpha, canary_rate=rates[0], stable_rate=rates[1])
            rollout_report.say_forecast(percent, found, "slow requests", *rates)
            medians.append(found.median)
        needed.append(max(median or 1 for median in medians))
    return needed


def _say_agreement_forecast(min_agreement: float, sample: float, gate_alpha: float) -> int:
    """Print what the gate of agreement can detect. Returns how many samples it needs for that in half of all cases."""
    from tfsctl.rollout.gate.agreement import forecast_rate, samples_until_breach

    limit = round(1 - min_agreement, 9)
    rate = forecast_rate(limit)
    found = samples_until_breach(limit, rate, alpha=gate_alpha)
    rollout_report.say_agreement_forecast(1 - rate, min_agreement, sample, found.median, found.ninth_decile)
    return found.median or 1


def _percentages(percent: float | None, steps: str | None) -> tuple[float, ...]:
    """The percentages of the steps. Raises InvalidInput."""
    if (percent is None) == (steps is None):
        raise InvalidInput("give --percent or --steps", hint="--percent 10, or --steps 1,5,25,100")
    if steps is None:
        return (percent or 0.0,)
    try:
        found = tuple(float(step) for step in steps.split(","))
    except ValueError:
        raise InvalidInput(f"--steps {steps} are not numbers", hint="--steps 1,5,25,100") from None
    if not all(0.01 <= step <= 100 for step in found) or list(found) != sorted(set(found)):
        raise InvalidInput(f"--steps {steps} do not increase from 0.01 to 100", hint="--steps 1,5,25,100")
    return found
