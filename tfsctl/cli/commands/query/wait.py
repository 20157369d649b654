"""`tfsctl wait`: return when a model answers; for scripts, and as a probe."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated

import typer

from tfsctl.cli.options import completion
from tfsctl.cli.options import shared as shared_options
from tfsctl.cli.options.connection import asks_a_server
from tfsctl.cli.options.target import Asked, Target
from tfsctl.cli.output import terminal
from tfsctl.core.types import VersionStatus
from tfsctl.errors import ModelUnreadable, NotFound, NotReadyInTime, ServerUnreachable, TfsctlError

POLL_S = 0.2
REQUEST_S = 5.0  # a server that is this slow to tell its status is asked again


@asks_a_server
def wait(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME[@VERSION]", autocompletion=completion.models, help="The model to wait for."),
    ],
    *,
    asked: Asked,
    as_json: shared_options.Json = False,
) -> None:
    """Wait until a model, or one version of it, is AVAILABLE.

    Ends with 0 once it is; with 3 if it is not after --timeout seconds; at once with 1 if it could not be loaded. A
    server that is not there yet, or does not know the model yet, is waited for. `--timeout 1` makes a probe: an open
    port and HTTP status 200 do not mean that a version is loaded.

    \b
    Examples:
      tfsctl wait amazon_review
      tfsctl wait amazon_review@2 --timeout 300 --grpc
      tfsctl wait amazon_review --timeout 1 --host 127.0.0.1 --port 8501
    """
    from tfsctl.cli.options.target import find_target, named
    from tfsctl.engines.registry import records

    asked = named(asked, name)
    start = time.monotonic()
    while True:
        left_s = asked.timeout_s - (time.monotonic() - start)
        try:
            target = find_target(replace(asked, timeout_s=max(0.05, min(REQUEST_S, left_s))), records.running())
            found = _available(target)
        except (NotFound, NotReadyInTime, ServerUnreachable) as error:
            if left_s <= POLL_S:
                raise _too_late(name, asked.timeout_s, error) from error
        else:
            break
        time.sleep(POLL_S)
    if as_json:
        waited_s = round(time.monotonic() - start, 3)
        terminal.answer_json({"model": found[0], "version": found[1], "state": "AVAILABLE", "waited_s": waited_s})
        return
    terminal.answer(f"{found[0]} version {found[1]} AVAILABLE")


def _available(target: Target) -> tuple[str, int | None]:
    """The model and its highest version that answers.

    Raises NotReadyInTime where none does yet, and ModelUnreadable where none will.
    """
    with target.connect() as client:
        if target.model.label is not None:  # a label is one of an available version, or is not known
            served = client.metadata(target.model)
            return served.name, served.version
        versions = client.status(target.model)
    for version in versions:
        if version.state == "AVAILABLE":
            return target.model.name, version.version
    if versions and all(version.state == "END" and version.error_code != "OK" for version in versions):
        raise _not_loaded(target, versions[0])
    states = ", ".join(f"version {version.version} is {version.state}" for version in versions) or "it has no version"
    raise NotReadyInTime(states)


def _not_loaded(target: Target, version: VersionStatus) -> ModelUnreadable:
    from tfsctl.diagnosis.explanations import explain

    error = ModelUnreadable(
        f"{target.model.name} version {version.version} could not be loaded ({version.error_code}): "
        f"{version.error_message}",
        hint="tfsctl metadata PATH reads the same files",
    )
    if known := explain(version.error_message):
        error.cause, error.hint = known.cause, known.hint
    return error


def _too_late(name: str, seconds: float, last: TfsctlError) -> NotReadyInTime:
    error = NotReadyInTime(
        f"{name} is not AVAILABLE after {seconds:g} s: {last.message}",
        hint=last.hint or "--timeout SECONDS waits longer",
    )
    error.cause = last.cause
    return error
