"""`tfsctl rollout`: show a running rollout, and end it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfsctl.cli.options.front_options import FrontOption, OptionalModelArgument
from tfsctl.cli.options.output_options import JsonOption
from tfsctl.cli.output import rollout_report, terminal
from tfsctl.cli.usage.help_format import GroupedCommand
from tfsctl.errors import ExitCode, InvalidInput

if TYPE_CHECKING:
    from tfsctl.rollout.front.operations import RolloutAction

POLL_S = 0.5


def status(
    name: OptionalModelArgument = None,
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Print each change until it ends; exit code 7 unless it was promoted.")
    ] = False,
    server: FrontOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the rollout of a model.

    Prints the percentage, the requests and errors of both versions, and the evidence against the new one.

    \b
    Examples:
      tfsctl rollout status review
      tfsctl rollout status review --watch
    """
    from tfsctl.rollout.front import operations
    from tfsctl.rollout.front.rollout_report import report

    front = operations.find_front(name, server=server)
    document = report(operations.read_state(front), front.record.name)
    seen = None
    while watch and document["rollout"] is not None and document["rollout"]["ended_at"] is None:
        line = rollout_report.summary(document["rollout"])
        if line != seen:
            terminal.say(line)
            seen = line
        time.sleep(POLL_S)
        operations.find_front(name, server=front.record.name)  # raises NotFound if it has ended
        document = report(operations.read_state(front), front.record.name)
    _answer(document, as_json=as_json)
    if watch and document["rollout"] is not None and document["rollout"]["status"] != "promoted":
        raise typer.Exit(ExitCode.THRESHOLD)


def promote(name: OptionalModelArgument = None, *, server: FrontOption = None, as_json: JsonOption = False) -> None:
    """Send all traffic to the new version.

    Its server becomes the stable one. The server of the old version answers its running requests and stops.

    \b
    Examples:
      tfsctl rollout promote review
    """
    _finish(name, server, "promote", as_json=as_json)


def rollback(name: OptionalModelArgument = None, *, server: FrontOption = None, as_json: JsonOption = False) -> None:
    """Send all traffic to the old version, because the new one is bad.

    \b
    Examples:
      tfsctl rollout rollback review
    """
    _finish(name, server, "rollback", as_json=as_json)


def abort(name: OptionalModelArgument = None, *, server: FrontOption = None, as_json: JsonOption = False) -> None:
    """Send all traffic to the old version, without a verdict on the new one.

    \b
    Examples:
      tfsctl rollout abort review
    """
    _finish(name, server, "abort", as_json=as_json)


def resume(name: OptionalModelArgument = None, *, server: FrontOption = None, as_json: JsonOption = False) -> None:
    """Continue a paused rollout at its step.

    The evidence up to now is dropped, and the gate starts again.

    \b
    Examples:
      tfsctl rollout resume review
    """
    _finish(name, server, "resume", as_json=as_json)


def finish_on_front(
    name: str,
    server: str | None,
    action: RolloutAction,
    *,
    version: int | None = None,
    require_blessing: bool = False,
    as_json: bool,
) -> bool:
    """Finish the rollout of a model behind a front, for `tfsctl promote` and `tfsctl rollback`.

    Returns False if the model is not behind a front. Raises InvalidInput if no rollout of `version` is running there,
    and with `require_blessing` NotBlessed if its version did not pass its last comparison.
    """
    from tfsctl.rollout.front import operations

    if not operations.is_behind_front(name, server=server):
        return False
    if not operations.has_rollout(name, server=server):
        raise InvalidInput(
            f"{name} is served by a front, and no rollout is running",
            hint=f"tfsctl canary {name} --version N --percent 10",
        )
    operations.check_version(name, version, server=server)
    if require_blessing:
        operations.check_blessing(name, server=server)
    _finish(name, server, action, as_json=as_json)
    return True


def _finish(name: str | None, server: str | None, action: RolloutAction, *, as_json: bool) -> None:
    from tfsctl.rollout.front import operations
    from tfsctl.rollout.front.rollout_report import report

    front = operations.find_front(name, server=server)
    _answer(report(operations.finish_rollout(front, action), front.record.name), as_json=as_json)


def _answer(document: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        terminal.answer_json(document)
    else:
        rollout_report.answer_report(document)


app = typer.Typer(
    help="Show and end the rollout of a version.", no_args_is_help=True, add_completion=False, rich_markup_mode=None
)
for command in (status, promote, rollback, abort, resume):
    app.command(command.__name__, cls=GroupedCommand)(command)
