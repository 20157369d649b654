"""`tfsctl wait`: wait until a model is AVAILABLE, for scripts and as a readiness probe."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated

import typer

from tfsctl.cli.options.completion import complete_models
from tfsctl.cli.options.output_options import JsonOption
from tfsctl.cli.options.server_options import ServerOptions, takes_server_options
from tfsctl.cli.output import terminal
from tfsctl.errors import NotFound, NotReadyInTime, ServerUnreachable, TfsctlError

POLL_INTERVAL_S = 0.2
REMINDER_INTERVAL_S = 5.0
REQUEST_TIMEOUT_S = 5.0  # per status request; a slower server is queried again


@takes_server_options
def wait(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME[@VERSION]", autocompletion=complete_models, help="The model to wait for."),
    ],
    *,
    options: ServerOptions,
    as_json: JsonOption = False,
) -> None:
    """Wait until a model is loaded.

    The exit code is 0 once the model is AVAILABLE, 3 if it is not AVAILABLE within --timeout seconds, and 1 as soon as
    loading fails. The server need not be running yet. Progress is printed on stderr.

    With `--timeout 1`, the command is a readiness probe. Do not probe the port or the HTTP status alone: they do not
    show whether a version is loaded.

    \b
    Examples:
      tfsctl wait amazon_review
      tfsctl wait amazon_review@2 --timeout 300 --grpc
      tfsctl wait amazon_review --timeout 1 --host 127.0.0.1 --port 8501
    """
    from tfsctl.cli.options.target import find_target
    from tfsctl.clients.availability import available_version
    from tfsctl.engines.registry import records

    options = options.with_model(name)
    start = time.monotonic()
    progress = _WaitProgress(name, options.timeout_s)
    reason: TfsctlError | None = None
    while True:
        request_start_s = time.monotonic()
        left_s = options.timeout_s - (request_start_s - start)
        limit_s = max(0.05, min(REQUEST_TIMEOUT_S, left_s))
        try:
            target = find_target(replace(options, timeout_s=limit_s), records.running())
            with target.connect() as client:
                model, version = available_version(client, target.model)
        except (NotFound, NotReadyInTime, ServerUnreachable) as error:
            now_s = time.monotonic()
            is_cut_short = limit_s < REQUEST_TIMEOUT_S and now_s - request_start_s >= limit_s
            if reason is None or not is_cut_short:  # otherwise the last reason says more than this one
                reason = error
            if left_s <= POLL_INTERVAL_S or now_s - start >= options.timeout_s:
                raise _too_late(name, options.timeout_s, reason) from error
            progress.show(reason, elapsed_s=now_s - start)
        else:
            break
        time.sleep(POLL_INTERVAL_S)
    if as_json:
        waited_s = round(time.monotonic() - start, 3)
        terminal.answer_json({"model": model, "version": version, "state": "AVAILABLE", "waited_s": waited_s})
        return
    terminal.answer(f"{model} version {version} AVAILABLE")


class _WaitProgress:
    """Prints on stderr why the command still waits: at once, when the reason changes, and every few seconds."""

    def __init__(self, name: str, timeout_s: float) -> None:
        self._name, self._timeout_s = name, timeout_s
        self._reason = ""
        self._next_s = 0.0

    def show(self, reason: TfsctlError, *, elapsed_s: float) -> None:
        """Print the reason, if it is new or was printed REMINDER_INTERVAL_S ago."""
        if reason.message == self._reason and elapsed_s < self._next_s:
            return
        start = f"waiting for {self._name}" if not self._reason else f"still waiting for {self._name}"
        terminal.say(f"{start} ({elapsed_s:.0f} of {self._timeout_s:g} s): {reason.message}")
        if reason.hint and reason.message != self._reason:
            terminal.say(f"hint: {reason.hint}")
        self._reason, self._next_s = reason.message, elapsed_s + REMINDER_INTERVAL_S


def _too_late(name: str, seconds: float, last: TfsctlError) -> NotReadyInTime:
    error = NotReadyInTime(
        f"{name} is not AVAILABLE after {seconds:g} s: {last.message}",
        hint=last.hint or "use a longer --timeout SECONDS",
    )
    error.cause = last.cause
    return error
