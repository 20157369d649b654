"""How a rollout is printed: its state, and what a step can detect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfsctl.cli.output import terminal

if TYPE_CHECKING:
    from tfsctl.rollout.gate.forecast import Forecast


def answer_report(report: Mapping[str, Any]) -> None:
    """Print the document of `rollout status --json` as text."""
    rollout = report["rollout"]
    served = ", ".join(f"{model} {version}" for model, version in report["versions"].items())
    if rollout is None:
        terminal.answer(f"{report['server']} serves {served}; no rollout was started")
        return
    terminal.answer(summary(rollout))
    if rollout["status"] in ("running", "paused"):
        progress = f"step {rollout['step']} of {len(rollout['steps'])}"
        terminal.answer(f"  {progress}: {rollout['step_requests']:,} requests of at least {rollout['min_requests']:,}")
    for arm, version in (("stable", rollout["from"]), ("canary", rollout["to"])):
        counts = rollout[arm]
        slow = f", {counts['slow']:,} slow" if rollout["slow"] else ""
        terminal.answer(
            f"  {arm} version {version}: {counts['requests']:,} requests, {counts['errors']:,} errors{slow}"
        )
    _answer_evidence("has more errors", rollout["e_value"], rollout)
    if (slow := rollout["slow"]) and slow["threshold_ms"] is None:
        terminal.answer(f"  slow requests: {slow['rule']} of the stable version is still measured")
    elif slow:
        _answer_evidence(f"has more requests of {slow['threshold_ms']:g} ms or more", slow["e_value"], rollout)

    if agreement := rollout["agreement"]:
        share = "" if agreement["agreement"] is None else f": {agreement['agreement']:.2%} agree"
        terminal.answer(f"  shadow: {agreement['samples']:,} samples of at least {agreement['min_samples']:,}{share}")
        _answer_evidence(f"agrees on less than {agreement['min_agreement']:.4g}", agreement["e_value"], rollout)


def _answer_evidence(what: str, e_value: float, rollout: Mapping[str, Any]) -> None:
    terminal.answer(f"  evidence that the canary {what}: {e_value:.3g} (breach at {rollout['breach_at']:g})")


def summary(rollout: Mapping[str, Any]) -> str:
    """One line: the versions, the state, the percentage, and the reason of a pause or of the end."""
    where = f" at {rollout['percent']:g} %" if rollout["percent"] else ""
    why = f": {rollout['reason']}" if rollout["reason"] else ""
    return f"{rollout['model']} {rollout['from']} -> {rollout['to']} {rollout['status'].replace('_', ' ')}{where}{why}"


def say_forecast(percent: float, forecast: Forecast, what: str, canary_rate: float, stable_rate: float) -> None:
    """Print to stderr what the gate can detect at a percentage. `what` is in the plural."""
    if percent == 100:
        terminal.say(f"at {percent:g} %: the gate has no stable version to compare with")
        return
    if forecast.median is None:
        terminal.say(f"at {percent:g} %: {100 * canary_rate:g}% {what} are too few to be detected")
        return
    late = "" if forecast.ninth_decile is None else f", in 9 of 10 cases after {_rounded(forecast.ninth_decile)}"
    terminal.say(
        f"at {percent:g} %: {100 * canary_rate:g}% {what} are detected after about {_rounded(forecast.median)} requests{late} "
        f"(if the stable version has {100 * stable_rate:g}%)"
    )


def say_agreement_forecast(
    agreement: float, min_agreement: float, sample: float, median: int | None, ninth_decile: int | None
) -> None:
    """Print to stderr what the gate of agreement can detect. `median` and `ninth_decile` are numbers of samples."""
    if median is None:
        terminal.say(f"the shadow cannot detect an agreement of {100 * agreement:g}% with so small an alpha")
        return
    late = "" if ninth_decile is None else f", in 9 of 10 cases after {_rounded(ninth_decile)}"
    terminal.say(
        f"shadow: an agreement of {100 * agreement:g}% (at least {100 * min_agreement:g}% is asked for) is detected after "
        f"about {_rounded(median)} samples{late}; {100 * sample:g}% of the requests are samples"
    )


def _rounded(number: int) -> str:
    """A number with two significant digits."""
    return f"{int(float(f'{number:.2g}')):,}"
