"""`tfsctl status`: print the state of each version of a model, once or on every change."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import typer

from tfsctl.cli.options.completion import complete_models
from tfsctl.cli.options.output_options import JsonOption
from tfsctl.cli.options.server_options import ServerOptions, takes_server_options
from tfsctl.cli.options.target import Target
from tfsctl.cli.output import terminal
from tfsctl.clients.connection import Transport
from tfsctl.core.types import VersionStatus
from tfsctl.errors import NotFound, NotReadyInTime, ServerUnreachable

COLUMNS = ("model", "version", "state", "error")
INTERVAL_S = 1.0


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """The versions of one model on one server."""

    model: str
    address: str
    transport: Transport
    versions: Sequence[VersionStatus]


@takes_server_options
def status(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME[@VERSION]]",
            autocompletion=complete_models,
            help="The model (default: all models of all running servers).",
        ),
    ] = None,
    *,
    options: ServerOptions,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Keep running, and print a line for each change.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the state of each version of a model.

    A version passes through the states START, LOADING, AVAILABLE, UNLOADING and END. A version that failed to load has
    the state END and an error. --watch runs until Ctrl-C; with --json, it prints one document per line.

    \b
    Examples:
      tfsctl status
      tfsctl status amazon_review@2 --json
      tfsctl status --watch --host serving.example.com --model amazon_review
    """
    targets = _targets(options, name)
    if watch:
        for change in _watch(targets):
            terminal.answer_json(change) if as_json else terminal.answer(_text(change))
    statuses = [_fetch_status(target) for target in targets]
    if as_json:
        terminal.answer_json({"models": [_document(one) for one in statuses]})
        return
    terminal.answer_table(COLUMNS, [row for one in statuses for row in _rows(one)])


def _targets(options: ServerOptions, name: str | None) -> list[Target]:
    """The named model, or every model of every running server. Raises what `find_target` raises."""
    from tfsctl.cli.options.target import find_target
    from tfsctl.engines.registry import records
    from tfsctl.engines.registry.server_choice import choose_server

    options, running = options.with_model(name), records.running()
    if options.server is not None:
        running = [choose_server(running, model=options.model, name=options.server)]
    if options.model is not None or options.host is not None or options.port is not None or not running:
        return [find_target(options, running)]
    served = [(server, model) for server in running for model in server.models]
    return [find_target(replace(options, model=model), [server]) for server, model in served]


def _fetch_status(target: Target) -> ModelStatus:
    with target.connect() as client:
        model = target.model
        if model.label is not None:  # the status request of TensorFlow Serving has no label
            model = replace(model, label=None, version=client.metadata(model).version)
        return ModelStatus(model.name, client.address, client.transport, client.status(model))


def _watch(targets: Sequence[Target]) -> Iterator[dict[str, Any]]:
    """Yield every change of a version's state. The state is UNKNOWN while the server cannot be reached."""
    before: dict[Target, dict[int | None, tuple[str, str]]] = {}
    while True:
        for target in targets:
            now = _states(target)
            for version, state in now.items():
                if before.get(target, {}).get(version) != state:
                    yield _change(target, version, *state)
            before[target] = now
        time.sleep(INTERVAL_S)


def _states(target: Target) -> dict[int | None, tuple[str, str]]:
    try:
        return {version.version: (version.state, version.error_message) for version in _fetch_status(target).versions}
    except (ServerUnreachable, NotReadyInTime, NotFound) as error:
        return {None: ("UNKNOWN", error.message)}


def _change(target: Target, version: int | None, state: str, message: str) -> dict[str, Any]:
    return {
        "time": time.strftime("%H:%M:%S"),
        "model": target.model.name,
        "version": version,
        "state": state,
        "error": message,
    }


def _text(change: dict[str, Any]) -> str:
    return "  ".join(str(value) for value in change.values() if value not in (None, ""))


def _rows(status: ModelStatus) -> list[tuple[str, ...]]:
    return [(status.model, str(v.version), v.state, v.error_message) for v in status.versions]


def _document(status: ModelStatus) -> dict[str, Any]:
    return {
        "model": status.model,
        "address": status.address,
        "transport": status.transport,
        "versions": [asdict(version) for version in status.versions],
    }
