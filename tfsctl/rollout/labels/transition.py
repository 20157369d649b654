"""Carry out a change of labels step by step, undo it if a step fails, and finish or undo an interrupted one.

TensorFlow Serving accepts a label only for a version that is AVAILABLE, so a change takes up to three reloads:
load the new versions; move the labels; unload versions that are no longer needed. Before each reload the
configuration is stored where the server reads it when it starts.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace

from tfsctl.core.history import journal
from tfsctl.errors import NotReadyInTime, RolloutError, TfsctlError
from tfsctl.rollout.labels import intent as intents
from tfsctl.rollout.labels.intent import Intent
from tfsctl.rollout.labels.managed_model import ManagedModel
from tfsctl.rollout.labels.planning import Steps
from tfsctl.serving_config.model_config import ModelConfig

POLL_S = 0.02
LOG_POLL_S = 1.0  # reading the log of a container runs a program
OLD_ERROR_S = 5.0  # a version may show the error of an earlier attempt until the server looks at it again
ShowStep = Callable[[str], None]


def carry_out(
    model: ManagedModel, intent: Intent, *, wait_timeout_s: float, show_step: ShowStep = lambda _step: None
) -> list[str]:
    """Change the labels of a model and record it in the history. Returns notes.

    Raises RolloutError if a step fails: the previous state is restored, or the message says what could not be.
    """
    intents.write(model.key, intent)
    try:
        _advance(model, intent.steps, wait_timeout_s, show_step)
    except (TfsctlError, KeyboardInterrupt) as error:
        raise _undo_failed_change(model, intent, error, wait_timeout_s) from error
    return _complete(model, intent)


def recover(model: ManagedModel, *, wait_timeout_s: float, show_step: ShowStep = lambda _step: None) -> str:
    """Finish or undo the change that a killed command left. Returns a note; empty if there was nothing to do.

    A change whose labels were moved is finished, an earlier one is undone.
    """
    found = intents.read(model.key)
    if found is None:
        intents.remove(model.key)  # an unreadable file, if there is one
        return ""
    steps, current = found.steps, model.config()
    if current not in (steps.before, steps.prepared, steps.moved, steps.after):
        intents.remove(model.key)  # the server was restarted with other options
        return ""
    what = f"{found.event.action} of {found.event.time} by {found.event.who}"
    has_moved = current.labels == steps.after.labels
    if has_moved and not found.undoing:
        show_step(f"finishing the {what}")
        _apply(model, steps.moved)
        wait_until_available(model, steps.after.labels.values(), wait_timeout_s)  # the server may have been restarted
        _release(model, steps)
        _complete(model, found)
        return f"the {what} had been interrupted, and is now finished"
    show_step(f"undoing the {what}")
    _undo(model, steps, wait_timeout_s)
    intents.remove(model.key)
    return f"the {what} had been interrupted, and is now undone"


def _advance(model: ManagedModel, steps: Steps, wait_timeout_s: float, show_step: ShowStep) -> None:
    new = steps.new_versions
    if new:
        show_step(f"loading {model.name} {_name_versions(new)}")
        _apply(model, steps.prepared)
        wait_until_available(model, new, wait_timeout_s)
    show_step("moving the labels")
    _apply(model, steps.moved)
    if steps.released:
        show_step(f"unloading {model.name} {_name_versions(steps.released)}")
    _release(model, steps)


def _release(model: ManagedModel, steps: Steps) -> None:
    """Unload the versions that are no longer needed."""
    if steps.after != steps.moved:
        _apply(model, steps.after)


def _apply(model: ManagedModel, config: ModelConfig) -> None:
    """Store a configuration for the next start of the server, and tell the server to use it now."""
    model.save(config)
    model.reload(config)


def _complete(model: ManagedModel, intent: Intent) -> list[str]:
    """Record the change and delete the intent. Returns notes."""
    note = "" if model.base is None else journal.append(model.base, intent.event)
    if model.base is None:
        note = "the history was not written: the model is not in a directory of this machine"
    intents.remove(model.key)
    return [note for note in (note, model.restart_note()) if note]


def _undo_failed_change(
    model: ManagedModel, intent: Intent, error: BaseException, wait_timeout_s: float
) -> BaseException:
    """Undo a change that failed with `error`, and return the error to raise."""
    with suppress(TfsctlError):  # without the mark, the next command decides by the labels that the server has
        intents.write(model.key, replace(intent, undoing=True))
    why = error.message if isinstance(error, TfsctlError) else "it was interrupted"
    try:
        _undo(model, intent.steps, wait_timeout_s)
    except TfsctlError as again:
        failed = RolloutError(
            f"the labels of {model.name} were not changed: {why}; restoring the previous state failed too: "
            f"{again.message}",
            hint=f"tfsctl label ls {model.target} tries to restore it again",
        )
    else:
        intents.remove(model.key)
        if isinstance(error, KeyboardInterrupt):
            return error
        failed = RolloutError(
            f"the labels of {model.name} were not changed, and the previous state is restored: {why}",
            hint=error.hint if isinstance(error, TfsctlError) else "",
        )
    failed.cause = error.cause if isinstance(error, TfsctlError) else ""
    return failed


def _undo(model: ManagedModel, steps: Steps, wait_timeout_s: float) -> None:
    """Go back to the configuration before, from any step."""
    if model.config().labels != steps.before.labels:
        needed = {*steps.before.labels.values(), *steps.loaded}
        try:
            _apply(model, steps.moved)
            wait_until_available(model, needed, wait_timeout_s)
        finally:
            model.save(steps.prepared)
        model.reload(steps.prepared)
    _apply(model, steps.before)


def wait_until_available(model: ManagedModel, versions: Collection[int], timeout_s: float) -> None:
    """Return once all versions are AVAILABLE. Raises RolloutError if one cannot be loaded, NotReadyInTime."""
    start = time.monotonic()
    earlier = {status.version: status for status in model.statuses() if status.state == "END"}
    next_log_check = start + LOG_POLL_S
    while True:
        found = {status.version: status for status in model.statuses()}
        waiting = [
            version for version in sorted(versions) if version not in found or found[version].state != "AVAILABLE"
        ]
        if not waiting:
            return
        now = time.monotonic()
        for version in waiting:
            status = found.get(version)
            is_old = status == earlier.get(version) and now - start < OLD_ERROR_S
            if status is not None and status.state == "END" and status.error_code != "OK" and not is_old:
                raise _not_loaded(model, version, status.error_message)
        if now > next_log_check:
            next_log_check = now + LOG_POLL_S
            for version, why in model.load_failures().items():
                if version in waiting:
                    raise _not_loaded(model, version, why)
        if now - start > timeout_s:
            states = ", ".join(
                f"version {version} is {found[version].state if version in found else 'not known to the server'}"
                for version in waiting
            )
            raise NotReadyInTime(
                f"{model.name} is not AVAILABLE after {timeout_s:g} s: {states}",
                hint="increase --wait-timeout SECONDS",
            )
        time.sleep(POLL_S)


def _not_loaded(model: ManagedModel, version: int, why: str) -> RolloutError:
    return RolloutError(
        f"version {version} of {model.name} cannot be loaded: {why}",
        hint="" if model.base is None else f"tfsctl verify {shlex.quote(str(model.base / str(version)))}",
    )


def _name_versions(versions: Collection[int]) -> str:
    return f"version{'s' if len(versions) > 1 else ''} {', '.join(map(str, sorted(versions)))}"
