"""`tfsctl status`: where each version of a model is in its life."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import typer

from tfsctl.cli.options import completion
from tfsctl.cli.options import shared as shared_options
from tfsctl.cli.options.connection import asks_a_server
from tfsctl.cli.options.target import Asked, Target
from tfsctl.cli.output import terminal
from tfsctl.clients.connection import Transport
from tfsctl.core.types import VersionStatus
from tfsctl.errors import NotFound, NotReadyInTime, ServerUnreachable

COLUMNS = ("model", "version", "state", "error")
INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class Told:
    """What a server told about a model, and which server that was."""

    model: str
    address: str
    transport: Transport
    versions: Sequence[VersionStatus]


@asks_a_server
def status(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME[@VERSION]]",
            autocompletion=completion.models,
            help="The model; else all of the servers that run.",
        ),
    ] = None,
    *,
    asked: Asked,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on, with a line for each change.")] = False,
    as_json: shared_options.Json = False,
) -> None:
    """Show where each version of a model is in its life.

    A version goes from START over LOADING to AVAILABLE, and over UNLOADING to END. One that could not be loaded ends
    with its error. --watch goes on until Ctrl-C, with --json a document a line.

    \b
    Examples:
      tfsctl status
      tfsctl status amazon_review@2 --json
      tfsctl status --watch --host serving.example.com --model amazon_review
    """
    targets = _targets(asked, name)
    if watch:
        try:
            for change in _changes(targets):
                terminal.answer_json(change) if as_json else terminal.answer(_text(change))
        except KeyboardInterrupt:  # how watching is meant to end
            return
    told = [_ask(target) for target in targets]
    if as_json:
        terminal.answer_json({"models": [_document(one) for one in told]})
        return
    terminal.answer_table(COLUMNS, [row for one in told for row in _rows(one)])


def _targets(asked: Asked, name: str | None) -> list[Target]:
    """The model that was named, or every model of every server that runs. Raises as `find_target` does."""
    from tfsctl.cli.options.target import find_target, named
    from tfsctl.engines.registry import records

    asked, running = named(asked, name), records.running()
    if asked.model is not None or asked.host is not None or asked.port is not None or not running:
        return [find_target(asked, running)]
    everything = [(server, model) for server in running for model in server.models]
    return [find_target(replace(asked, model=model), [server]) for server, model in everything]


def _ask(target: Target) -> Told:
    with target.connect() as client:
        return Told(target.model.name, client.address, client.transport, client.status(target.model))


def _changes(targets: Sequence[Target]) -> Iterator[dict[str, Any]]:
    """Every change of a version, as it comes. A server that does not tell is asked again; its state is UNKNOWN then."""
    before: dict[Target, dict[int | None, tuple[str, str]]] = {}
    while True:
        for target in targets:
            now = _states(target)
            for version, said in now.items():
                if before.get(target, {}).get(version) != said:
                    yield _line(target, version, *said)
            before[target] = now
        time.sleep(INTERVAL_S)


def _states(target: Target) -> dict[int | None, tuple[str, str]]:
    try:
        return {version.version: (version.state, version.error_message) for version in _ask(target).versions}
    except (ServerUnreachable, NotReadyInTime, NotFound) as error:
        return {None: ("UNKNOWN", error.message)}


def _line(target: Target, version: int | None, state: str, message: str) -> dict[str, Any]:
    return {
        "time": time.strftime("%H:%M:%S"),
        "model": target.model.name,
        "version": version,
        "state": state,
        "error": message,
    }


def _text(change: dict[str, Any]) -> str:
    return "  ".join(str(value) for value in change.values() if value not in (None, ""))


def _rows(told: Told) -> list[tuple[str, ...]]:
    return [(told.model, str(v.version), v.state, v.error_message) for v in told.versions]


def _document(told: Told) -> dict[str, Any]:
    return {
        "model": told.model,
        "address": told.address,
        "transport": told.transport,
        "versions": [asdict(version) for version in told.versions],
    }
