"""`tfsctl ab`: split the traffic between two versions, and compare their results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from tfsctl.cli.options.completion import complete_models
from tfsctl.cli.options.front_options import DEFAULT_ALPHA, AlphaOption, FrontOption, OnChangeOption, only_model
from tfsctl.cli.options.output_options import JsonOption
from tfsctl.cli.options.running_server_options import DEFAULT_WAIT_TIMEOUT_S, WaitTimeoutOption
from tfsctl.cli.output import ab_results, terminal
from tfsctl.errors import InvalidInput


def ab(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME] [A=WEIGHT B=WEIGHT]",
            autocompletion=complete_models,
            help="The model, and two versions or labels with their weights; without them, prints the results.",
        ),
    ] = None,
    *,
    sticky: Annotated[
        str | None,
        typer.Option(
            "--sticky",
            metavar="HEADER",
            help="Send all requests with the same value of this header to the same version (default: x-request-id).",
        ),
    ] = None,
    outcomes: Annotated[
        Path | None,
        typer.Option("--outcomes", metavar="FILE", help="A CSV file with an outcome for each value of the header."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            "--key", metavar="COLUMN", help="The column with the value of the header (default: the one named like it)."
        ),
    ] = None,
    outcome: Annotated[
        str | None,
        typer.Option("--outcome", metavar="COLUMN", help="The column with the outcome (default: the only other one)."),
    ] = None,
    missing: Annotated[
        float | None,
        typer.Option(
            "--missing", metavar="VALUE", help="The outcome of users who are not in the file (default: not counted)."
        ),
    ] = None,
    confidence: Annotated[
        float, typer.Option("--confidence", metavar="P", help="The confidence level of the intervals.")
    ] = 0.95,
    stop: Annotated[bool, typer.Option("--stop", help="End the A/B test; its results are kept.")] = False,
    on_breach: Annotated[
        Literal["rollback", "pause"],
        typer.Option("--on-breach", help="What to do if the new version has significantly more errors."),
    ] = "rollback",
    alpha: AlphaOption = DEFAULT_ALPHA,
    on_change: OnChangeOption = None,
    server: FrontOption = None,
    wait_timeout: WaitTimeoutOption = DEFAULT_WAIT_TIMEOUT_S,
    as_json: JsonOption = False,
) -> None:
    """Split the traffic between two versions, and compare their results.

    Works with servers that were started with `serve --front`. One version is the stable one, A; the other is B. Without
    weights, prints the requests, errors and latency of both versions. With --outcomes, joins the outcomes in a file with
    the version that answered, and prints the difference. `tfsctl promote` makes B the stable version.

    \b
    Examples:
      tfsctl ab review 3=50 4=50 --sticky user-id
      tfsctl ab review --outcomes purchases.csv --missing 0
      tfsctl ab review --stop
    """
    from tfsctl.rollout import ab_test
    from tfsctl.rollout.front import operations, webhook

    name, arms = _split(arguments or [])
    if outcomes is None and (key or outcome or missing is not None):
        raise InvalidInput("--key, --outcome and --missing belong to --outcomes", hint="--outcomes FILE.csv")
    if sticky is not None and not arms:
        raise InvalidInput("--sticky needs the weights of two versions", hint="3=50 4=50")
    if arms:
        if stop or outcomes is not None:
            raise InvalidInput("weights start an A/B test; --outcomes and --stop are for one that was started")
        ab_test.parse_arms(arms)
        ab_test.check_sticky(sticky or ab_test.REQUEST_ID)
        if on_change is not None:
            webhook.check(on_change)
    front = operations.find_front(name, server=server)
    if arms:
        with terminal.waiting("starting both versions"):
            ab_test.start(
                front,
                only_model(name, front.record.models, "ab"),
                arms,
                sticky=sticky,
                alpha=alpha,
                on_breach=on_breach,
                on_change=on_change,
                timeout_s=wait_timeout,
            )
    if stop:
        ab_test.stop(front)
    results = ab_test.read_results(front)
    if outcomes is not None:
        results = ab_test.with_outcomes(
            results,
            front,
            outcomes,
            key_column=key,
            outcome_column=outcome,
            missing=missing,
            confidence=confidence,
            note=terminal.say_note,
        )
    if as_json:
        terminal.answer_json(results.document())
    else:
        ab_results.print_results(results)
    if arms:
        terminal.say(f"to see the results: tfsctl ab {results.description['model']}")


def _split(arguments: list[str]) -> tuple[str | None, list[str]]:
    """The name of the model, and the arms. Raises InvalidInput if there are two names."""
    names = [one for one in arguments if "=" not in one]
    if len(names) > 1:
        raise InvalidInput(f"{names[1]} is not VERSION=WEIGHT", hint=f"tfsctl ab {names[0]} 3=50 4=50")
    return names[0] if names else None, [one for one in arguments if "=" in one]
