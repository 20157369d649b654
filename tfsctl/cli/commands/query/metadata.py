"""`tfsctl metadata`: what a running model, or one on disk, says about itself; and whether another would break its clients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfsctl.cli.options import shared as shared_options
from tfsctl.cli.options.connection import asks_a_server
from tfsctl.cli.options.target import Asked
from tfsctl.core.types import Signature
from tfsctl.errors import ExitCode

if TYPE_CHECKING:
    from tfsctl.cli.inference.model_description import Description

CHANGE_COLUMNS = ("", "signature", "change")
_FOR_PROGRAMS = ("ops",)  # hundreds of words


@asks_a_server
def metadata(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="PATH", help="A model's directory, or one version's; without it a running model is asked."
        ),
    ] = None,
    *,
    asked: Asked,
    signature: shared_options.Signature = None,
    diff: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--diff",
            metavar="OLD NEW",
            help="Compare two versions, directories or NAME@VERSION: would NEW break clients?",
        ),
    ] = None,
    as_json: shared_options.Json = False,
) -> None:
    """Show a model's signatures, and what else is known of it.

    Inputs and outputs, with dtypes and shapes, of the running model, over REST or gRPC; or, with PATH, of the model in a directory, with its TensorFlow version,
    size, operations, warmup and fingerprint as well. TensorFlow is not loaded for either.

    --diff ends with 0 if every request that OLD answers is answered by NEW in the same form, and with 1 if not.

    \b
    Examples:
      tfsctl metadata
      tfsctl metadata --model amazon_review --grpc --json
      tfsctl metadata ./amazon_review
      tfsctl metadata ./amazon_review --diff 1 2
      tfsctl metadata --diff amazon_review ./amazon_review/1795344751
    """
    from tfsctl.cli.inference.model_description import describe, describe_either

    if diff is not None:
        old, new = (describe_either(asked, text, path) for text in diff)
        _compare(_only(old, signature), _without_others(new, signature), as_json=as_json)
        return
    told = _only(describe(asked, path), signature)
    _show(told.facts, told.signatures, as_json=as_json)


def _only(told: Description, signature: str | None) -> Description:
    """A model with that signature alone, if one was asked for. Raises NotFound where it has none of that name."""
    from tfsctl.core.types import ModelMetadata
    from tfsctl.inputs.predict_inputs import choose_signature

    if signature is not None:
        choose_signature(ModelMetadata(told.facts["model"], told.facts["version"], told.signatures), signature)
    return _without_others(told, signature)


def _without_others(told: Description, signature: str | None) -> Description:
    kept = {name: one for name, one in told.signatures.items() if signature in (None, name)}
    return replace(told, signatures=kept)


def _show(facts: Mapping[str, Any], signatures: Mapping[str, Signature], *, as_json: bool) -> None:
    from tfsctl.cli.output import signatures as signature_tables
    from tfsctl.cli.output import terminal

    if as_json:
        terminal.answer_json({**facts, "signatures": signature_tables.document(signatures)})
        return
    for name, value in facts.items():
        if value not in (None, {}) and name not in _FOR_PROGRAMS:
            shown = ", ".join(f"{key} {number}" for key, number in value.items()) if isinstance(value, dict) else value
            terminal.answer(f"{name.replace('_', ' ')}: {shown}")
    terminal.answer_table(signature_tables.COLUMNS, signature_tables.rows(signatures.values()))


def _compare(old: Description, new: Description, *, as_json: bool) -> None:
    """Print every change, and end with the exit code that tells whether one breaks clients."""
    from tfsctl.cli.output import terminal
    from tfsctl.core.compatibility import compare

    changes = compare(old.signatures, new.signatures)
    breaking = sum(change.breaks for change in changes)
    if as_json:
        terminal.answer_json({"breaks": bool(breaking), "changes": [asdict(change) for change in changes]})
    elif changes:
        rows = [("breaks" if change.breaks else "fine", change.signature, change.what) for change in changes]
        terminal.answer_table(CHANGE_COLUMNS, rows)
    if breaking:
        terminal.say(f"clients of the old version would break: {breaking} of {len(changes)} changes")
        raise typer.Exit(ExitCode.FAILED)
    fingerprints = {told.facts.get("fingerprint") for told in (old, new)}
    same = len(fingerprints) == 1 and None not in fingerprints
    terminal.say("the same model" if same else "clients of the old version can use the new one")
