"""`tfsctl metadata`: print the signatures of a served model or a model on disk, or compare two models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfsctl.cli.options.inference_options import SignatureOption
from tfsctl.cli.options.output_options import JsonOption
from tfsctl.cli.options.server_options import ServerOptions, takes_server_options
from tfsctl.core.types import Signature
from tfsctl.errors import ExitCode

if TYPE_CHECKING:
    from tfsctl.cli.inference.model_description import ModelDescription

CHANGE_COLUMNS = ("", "signature", "change")
_JSON_ONLY_FACTS = ("ops",)  # hundreds of names


@takes_server_options
def metadata(
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="PATH", help="The directory of a model, or of one version (default: the running model)."
        ),
    ] = None,
    *,
    options: ServerOptions,
    signature: SignatureOption = None,
    diff: Annotated[
        tuple[str, str] | None,
        typer.Option(
            "--diff",
            metavar="OLD NEW",
            help="Compare two versions, and report the changes that break clients. OLD and NEW are versions "
            "in PATH, directories, or NAME@VERSION.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the signatures of a model.

    Prints the inputs and outputs with their dtypes and shapes. Without PATH, they are those of a running model. With
    PATH, they are read from the model's directory, together with its TensorFlow version, size, operations, warmup
    requests and fingerprint. TensorFlow is not loaded.

    With --diff, the exit code is 0 if NEW accepts every request that OLD accepts and answers in the same form. It is 1
    if a change breaks clients.

    \b
    Examples:
      tfsctl metadata
      tfsctl metadata --model amazon_review --grpc --json
      tfsctl metadata ./amazon_review
      tfsctl metadata ./amazon_review --diff 1 2
      tfsctl metadata --diff amazon_review ./amazon_review/1795344751
    """
    from tfsctl.cli.inference.model_description import describe_model, describe_named

    if diff is not None:
        old, new = (describe_named(options, text, path) for text in diff)
        _compare(_choose_signature(old, signature), _with_signature(new, signature), as_json=as_json)
        return
    description = _choose_signature(describe_model(options, path), signature)
    _print(description.facts, description.signatures, as_json=as_json)


def _choose_signature(description: ModelDescription, signature: str | None) -> ModelDescription:
    """Keep only the named signature, if a name is given. Raises NotFound if the model has no such signature."""
    if signature is not None:
        from tfsctl.core.types import ModelMetadata
        from tfsctl.inputs.predict_inputs import choose_signature

        facts = description.facts
        choose_signature(ModelMetadata(facts["model"], facts["version"], description.signatures), signature)
    return _with_signature(description, signature)


def _with_signature(description: ModelDescription, signature: str | None) -> ModelDescription:
    """Keep only the named signature, which the model may not have; None keeps all."""
    kept = {name: one for name, one in description.signatures.items() if signature in (None, name)}
    return replace(description, signatures=kept)


def _print(facts: Mapping[str, Any], signatures: Mapping[str, Signature], *, as_json: bool) -> None:
    from tfsctl.cli.output import signature_table, terminal

    if as_json:
        terminal.answer_json({**facts, "signatures": signature_table.document(signatures)})
        return
    for name, value in facts.items():
        if value not in (None, {}) and name not in _JSON_ONLY_FACTS:
            shown = ", ".join(f"{key} {number}" for key, number in value.items()) if isinstance(value, dict) else value
            terminal.answer(f"{name.replace('_', ' ')}: {shown}")
    terminal.answer_table(signature_table.COLUMNS, signature_table.rows(signatures.values()))


def _compare(old: ModelDescription, new: ModelDescription, *, as_json: bool) -> None:
    """Print every change; exits with 1 if a change breaks clients."""
    from tfsctl.cli.output import terminal
    from tfsctl.core.compatibility import compare_signatures

    changes = compare_signatures(old.signatures, new.signatures)
    breaking = sum(change.breaks for change in changes)
    if as_json:
        terminal.answer_json({"breaks": bool(breaking), "changes": [asdict(change) for change in changes]})
    elif changes:
        rows = [("breaks" if change.breaks else "fine", change.signature, change.what) for change in changes]
        terminal.answer_table(CHANGE_COLUMNS, rows)
    if breaking:
        terminal.say(f"clients of the old version would break: {breaking} of {len(changes)} changes")
        raise typer.Exit(ExitCode.FAILED)
    fingerprints = {model.facts.get("fingerprint") for model in (old, new)}
    same = len(fingerprints) == 1 and None not in fingerprints
    terminal.say("the same model" if same else "clients of the old version can use the new one")
