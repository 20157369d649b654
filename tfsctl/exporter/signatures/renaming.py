"""Chooses the signatures to write, and renames signatures, inputs and outputs."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tfsctl.core.types import DEFAULT_SIGNATURE
from tfsctl.errors import InvalidInput
from tfsctl.exporter.export_signature import ExportSignature

Signatures = Sequence[ExportSignature]


def keep_signatures(signatures: Signatures, kept: Mapping[str, str]) -> Signatures:
    """The signatures that `kept` names, with their new names. Raises InvalidInput for an unknown name."""
    if not kept:
        return signatures
    by_name = {signature.name: signature for signature in signatures}
    for name in kept:
        if name not in by_name:
            raise InvalidInput(f"the model has no signature {name!r} (it has {', '.join(by_name)})")
    names = list(kept.values())
    if len(set(names)) < len(names):
        raise InvalidInput(f"two signatures would have the same name: {', '.join(names)}")
    return [replace(by_name[old], name=new) for old, new in kept.items()]


def default_signature(signatures: Signatures) -> ExportSignature:
    """`serving_default`, or the only signature. Raises InvalidInput if there are several others."""
    for signature in signatures:
        if signature.name == DEFAULT_SIGNATURE or len(signatures) == 1:
            return signature
    names = ", ".join(signature.name for signature in signatures)
    raise InvalidInput(
        f"the model has no signature {DEFAULT_SIGNATURE} (it has {names})",
        hint=f"--signature {signatures[0].name}={DEFAULT_SIGNATURE} chooses one",
    )


def rename_tensors(signatures: Signatures, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Signatures:
    """The signatures with new names for inputs and outputs. Raises InvalidInput for an unknown old name.

    An unknown output is found when the signature is traced, which raises InvalidInput then.
    """
    renamed_inputs, renamed_outputs = _by_signature(signatures, inputs), _by_signature(signatures, outputs)
    return [
        _rename_outputs(_rename_inputs(one, renamed_inputs.get(one.name, {})), renamed_outputs.get(one.name, {}))
        for one in signatures
    ]


def _by_signature(signatures: Signatures, renames: Mapping[str, str]) -> dict[str, dict[str, str]]:
    names = {signature.name for signature in signatures}
    found: dict[str, dict[str, str]] = {}
    for old, new in renames.items():
        signature, separator, tensor = old.partition(":")
        if not separator or signature not in names:
            signature, tensor = default_signature(signatures).name, old
        found.setdefault(signature, {})[tensor] = new
    return found


def _rename_inputs(signature: ExportSignature, renames: Mapping[str, str]) -> ExportSignature:
    for new in renames.values():
        if not new.isidentifier() or keyword.iskeyword(new):
            raise InvalidInput(
                f"an input cannot be called {new!r}",
                hint="use letters, digits and _: TensorFlow uses it as the name of an argument",
            )
    names = _renamed([spec.name for spec in signature.inputs], renames, f"signature {signature.name} has no input")
    inputs = tuple(replace(spec, name=name) for spec, name in zip(signature.inputs, names, strict=True))
    return replace(signature, inputs=inputs)


def _rename_outputs(signature: ExportSignature, renames: Mapping[str, str]) -> ExportSignature:
    if not renames:
        return signature
    call: Callable[..., dict[str, Any]] = signature.call

    def renamed(*tensors: object) -> dict[str, Any]:
        answer = call(*tensors)
        names = _renamed(list(answer), renames, f"signature {signature.name} has no output")
        return dict(zip(names, answer.values(), strict=True))

    return replace(signature, call=renamed)


def _renamed(names: Sequence[str], renames: Mapping[str, str], missing: str) -> list[str]:
    """The names after renaming, each old name being a name or a position from 0."""
    result = list(names)
    for old, new in renames.items():
        if old in names:
            position = names.index(old)
        elif old.isascii() and old.isdigit() and len(old) <= 9 and int(old) < len(names):
            position = int(old)
        else:
            raise InvalidInput(f"{missing} {old!r} (it has {', '.join(names)})")
        result[position] = new
    if len(set(result)) < len(result):
        raise InvalidInput(f"two names would be the same: {', '.join(result)}")
    return result
