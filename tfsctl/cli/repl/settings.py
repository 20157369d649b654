"""The settings of the REPL, a table that `:set`, the commands named after settings and completion use."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tfsctl.cli.output.class_scores import read_labels
from tfsctl.clients.connection import MAX_TIMEOUT_S
from tfsctl.core.model_dir import parse_version
from tfsctl.core.types import ModelRef
from tfsctl.errors import InvalidInput, TfsctlError
from tfsctl.inputs.predict_inputs import choose_outputs

if TYPE_CHECKING:
    from tfsctl.cli.repl.repl_session import ReplSession

LATEST = "latest"
VERBS = ("predict", "classify", "regress")
_ON_OFF = ("on", "off")


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its help text, its value as text (empty: the default), how to change it, and its choices.

    `change` sets the default for an empty text. It raises InvalidInput, or what the client raises.
    """

    help: str
    show: Callable[[ReplSession], str]
    change: Callable[[ReplSession, str], None]
    choices: Callable[[ReplSession], Iterable[str]]


def find_setting(name: str) -> Setting:
    """Return the setting with that name. Raises InvalidInput if there is none."""
    if name in SETTINGS:
        return SETTINGS[name]
    close = difflib.get_close_matches(name, SETTINGS, n=1)
    raise InvalidInput(
        f"there is no setting {name!r}",
        hint=f"did you mean {close[0]}?" if close else f"there are {', '.join(SETTINGS)}",
    )


def _set_verb(session: ReplSession, text: str) -> None:
    if text not in ("", *VERBS):
        raise InvalidInput(f"{text!r} is not a method", hint=f"give one of {', '.join(VERBS)}")
    session.verb = text or VERBS[0]


def _set_signature(session: ReplSession, text: str) -> None:
    session.switch(signature=text or None)


def _set_version(session: ReplSession, text: str) -> None:
    number = parse_version(text)
    if number is None and text not in ("", LATEST):
        raise InvalidInput(f"{text!r} is not a version", hint=f"give a number or {LATEST}")
    session.switch(model=ModelRef(session.target.model.name, version=number), signature=session.signature_name)


def _set_label(session: ReplSession, text: str) -> None:
    session.switch(model=ModelRef(session.target.model.name, label=text or None), signature=session.signature_name)


def _set_only(session: ReplSession, text: str) -> None:
    names = text.replace(",", " ").split()
    session.only = choose_outputs(session.signature, names) if names else ()


def _set_top(session: ReplSession, text: str) -> None:
    top = parse_version(text)  # it takes no number that is too long for `int`
    if text and not top:
        raise InvalidInput(f"{text!r} is not a number of classes")
    class_options = replace(session.style.class_options, top=top)
    session.style = replace(session.style, class_options=class_options)


def _set_labels(session: ReplSession, text: str) -> None:
    class_options = replace(session.style.class_options, labels=read_labels(Path(text).expanduser()) if text else ())
    session.style = replace(session.style, class_options=class_options)
    session.labels_file = text


def _set_json(session: ReplSession, text: str) -> None:
    session.style = replace(session.style, as_json=_parse_switch(text))


def _set_time(session: ReplSession, text: str) -> None:
    session.show_latency = _parse_switch(text)


def _set_timeout(session: ReplSession, text: str) -> None:
    try:
        seconds = float(text or session.initial_timeout_s)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= MAX_TIMEOUT_S:
        raise InvalidInput(f"{text!r} is not a time in seconds")
    session.switch(timeout_s=seconds, signature=session.signature_name)


def _parse_switch(text: str) -> bool:
    if text.lower() not in ("", *_ON_OFF):
        raise InvalidInput(f"{text!r} is neither on nor off")
    return text.lower() == "on"


def _no_choices(_session: ReplSession) -> Iterable[str]:
    return ()


def _on_off(_session: ReplSession) -> Iterable[str]:
    return _ON_OFF


def _versions(session: ReplSession) -> Iterable[str]:
    try:
        found = session.client.status(ModelRef(session.target.model.name))
    except TfsctlError:  # completion cannot report errors
        return (LATEST,)
    return (*(str(status.version) for status in found if status.state == "AVAILABLE"), LATEST)


SETTINGS: dict[str, Setting] = {
    "verb": Setting(
        "the method: predict, classify or regress", lambda session: session.verb, _set_verb, lambda _session: VERBS
    ),
    "signature": Setting(
        "the signature to query",
        lambda session: session.signature_name or "",
        _set_signature,
        lambda session: session.served.signatures,
    ),
    "version": Setting(
        "the version to query",
        lambda session: str(session.target.model.version or LATEST),
        _set_version,
        _versions,
    ),
    "label": Setting(
        "the version to query, by its label",
        lambda session: session.target.model.label or "",
        _set_label,
        lambda session: session.version_labels(),
    ),
    "only": Setting(
        "the outputs to print",
        lambda session: ", ".join(session.only),
        _set_only,
        lambda session: [spec.name for spec in session.signature.outputs],
    ),
    "top": Setting(
        "the number of classes per row",
        lambda session: str(session.style.class_options.top or ""),
        _set_top,
        _no_choices,
    ),
    "labels": Setting(
        "a file with the names of the classes", lambda session: session.labels_file, _set_labels, _no_choices
    ),
    "json": Setting(
        "print predictions as JSON", lambda session: _ON_OFF[not session.style.as_json], _set_json, _on_off
    ),
    "time": Setting(
        "show the duration of each request", lambda session: _ON_OFF[not session.show_latency], _set_time, _on_off
    ),
    "timeout": Setting(
        "the timeout of a request in seconds",
        lambda session: f"{session.target.timeout_s:g}",
        _set_timeout,
        _no_choices,
    ),
}
