"""`tfsctl shadow`: copy live requests to a new version, and compare its predictions with the stable version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfsctl.cli.options.comparison_options import (
    DEFAULT_ATOL,
    DEFAULT_MIN_ROWS,
    DEFAULT_RTOL,
    AtolOption,
    FailIfOption,
    HtmlOption,
    MinRowsOption,
    RtolOption,
    check_report_path,
)
from tfsctl.cli.options.front_options import DEFAULT_SAMPLE, FrontOption, OptionalModelArgument, only_model
from tfsctl.cli.options.output_options import JsonOption
from tfsctl.cli.options.quantities import parse_share
from tfsctl.cli.options.running_server_options import DEFAULT_WAIT_TIMEOUT_S, WaitTimeoutOption
from tfsctl.core.types import DEFAULT_SIGNATURE
from tfsctl.errors import EngineError, ExitCode, InvalidInput, NotFound

if TYPE_CHECKING:
    from tfsctl.engines.registry.tracked_server import TrackedServer
    from tfsctl.rollout.front.front_files import FrontState


def shadow(
    name: OptionalModelArgument = None,
    *,
    version: Annotated[
        int | None, typer.Option("--version", min=0, metavar="N", help="Start to compare this version.")
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option(
            "--sample",
            metavar="SHARE",
            help=f"The share of the predict requests to copy: 10% or 0.1 (default: {DEFAULT_SAMPLE}).",
        ),
    ] = None,
    signature: Annotated[
        str, typer.Option("--signature", metavar="NAME", help="Compare the requests for this signature.")
    ] = DEFAULT_SIGNATURE,
    atol: AtolOption = DEFAULT_ATOL,
    rtol: RtolOption = DEFAULT_RTOL,
    max_rows: Annotated[
        int, typer.Option("--max-rows", min=1, metavar="N", help="Stop after comparing N rows.")
    ] = 200_000,
    timeout_s: Annotated[
        float, typer.Option("--timeout", min=0.001, metavar="SECONDS", help="The time limit of each copied request.")
    ] = 10.0,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the shadow, and print its report.")] = False,
    fail_if: FailIfOption = None,
    min_rows: MinRowsOption = DEFAULT_MIN_ROWS,
    html: HtmlOption = None,
    server: FrontOption = None,
    wait_timeout: WaitTimeoutOption = DEFAULT_WAIT_TIMEOUT_S,
    as_json: JsonOption = False,
) -> None:
    """Compare a new version with the stable one on live requests.

    Works with servers that were started with `serve --front`. With --version, Envoy copies a share of the predict
    requests to a collector, which sends each copy to both versions and compares the predictions as `compare` does.
    Clients receive the answers of the stable version only, whatever the new version does. Without --version, prints
    what was found so far.

    \b
    Examples:
      tfsctl shadow review --version 3 --sample 10%
      tfsctl shadow review
      tfsctl shadow review --stop --html report.html --fail-if 'agreement<0.98'
    """
    from tfsctl.cli.output import terminal
    from tfsctl.rollout.comparison.gates import parse_gate
    from tfsctl.rollout.front import operations
    from tfsctl.rollout.shadow.shadow_state import ShadowPlan

    if version is None:
        if sample is not None:
            raise InvalidInput("--sample belongs to --version", hint=f"--version N --sample {sample}")
        gates = tuple(map(parse_gate, fail_if or ()))
        check_report_path(html)
        front = operations.find_front(name, server=server)
        if stop:
            with terminal.waiting("stopping the shadow"):
                state = operations.stop_shadow(front)
        else:
            state = operations.read_state(front)
        _answer(front, state, gates, min_rows, html, as_json=as_json)
        return
    if stop or fail_if or html:
        option = "--stop" if stop else "--fail-if" if fail_if else "--html"
        raise InvalidInput(
            f"{option} is about a running shadow, and --version starts one", hint="remove --version or the other option"
        )
    share = parse_share(sample or DEFAULT_SAMPLE, "--sample")
    front = operations.find_front(name, server=server)
    model = only_model(name, front.record.models, "shadow")
    plan = ShadowPlan(
        model,
        version,
        share,
        atol=atol,
        rtol=rtol,
        signature=signature,
        max_rows=max_rows,
        timeout_s=wait_timeout,
        request_timeout_s=timeout_s,
    )
    with terminal.waiting(f"loading version {version} of {model}"):
        state = operations.start_shadow(front, plan)
    if state.shadow is not None and state.shadow.status == "failed":
        raise EngineError(state.shadow.reason, hint=f"tfsctl logs {front.record.name} --tail 20")
    _answer(front, state, (), min_rows, None, as_json=as_json)
    terminal.say(f"to see what it found: tfsctl shadow {model}")


def _answer(
    front: TrackedServer,
    state: FrontState,
    gates: tuple[Any, ...],
    min_rows: int,
    html: Path | None,
    *,
    as_json: bool,
) -> None:
    """Print the state of the shadow and its comparison, and check the thresholds."""
    from tfsctl.cli.output import comparison as printed
    from tfsctl.cli.output import shadow_report, terminal
    from tfsctl.data.writers.whole_file import write_whole_file
    from tfsctl.rollout.comparison.gates import check_gates
    from tfsctl.rollout.comparison.html_report import html_report
    from tfsctl.rollout.front import operations
    from tfsctl.rollout.shadow.shadow_state import shadow_document

    if state.shadow is None:
        raise NotFound(
            f"no shadow of {front.record.name} was started",
            hint=f"tfsctl shadow {front.record.models[0]} --version N --sample {DEFAULT_SAMPLE}",
        )
    document = shadow_document(state.shadow, state.collector_starts)
    found = operations.read_comparison(front, state.shadow)
    if found is None and (gates or html):
        raise NotFound(
            f"the shadow of {state.shadow.plan.model} has compared no requests yet",
            hint=f"send requests, and try again: tfsctl shadow {state.shadow.plan.model}",
        )
    if found is not None:
        found.gates.extend(check_gates(gates, found.numbers(), found.counts(), min_rows))
        if html is not None:
            write_whole_file(html, html_report(found).encode())
    if as_json:
        comparison = None if found is None else printed.json_document(found)
        terminal.answer_json({"server": front.record.name, "shadow": document, "comparison": comparison})
    else:
        shadow_report.print_shadow(document)
        if found is not None:
            printed.print_comparison(found)
    if found is not None and not found.passed:
        raise typer.Exit(ExitCode.THRESHOLD)
