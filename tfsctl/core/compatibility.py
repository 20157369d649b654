"""Compares the signatures of two versions: what changed, and whether it breaks clients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tfsctl.core.types import Shape, Signature, TensorSpec


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. It breaks clients if requests that worked fail, or if answers have another form."""

    signature: str
    what: str
    breaks: bool


def compare_signatures(old: Mapping[str, Signature], new: Mapping[str, Signature]) -> tuple[Change, ...]:
    """All changes from the old signatures to the new ones, sorted by signature name."""
    return tuple(change for name in sorted(old.keys() | new.keys()) for change in _signature_changes(name, old, new))


def _signature_changes(name: str, old: Mapping[str, Signature], new: Mapping[str, Signature]) -> Iterator[Change]:
    if name not in new:
        yield Change(name, "the signature was removed", breaks=True)
    elif name not in old:
        yield Change(name, "the signature was added", breaks=False)
    else:
        for what, breaks in _input_changes(old[name].inputs, new[name].inputs):
            yield Change(name, what, breaks)
        for what, breaks in _output_changes(old[name].outputs, new[name].outputs):
            yield Change(name, what, breaks)


def _input_changes(old: Sequence[TensorSpec], new: Sequence[TensorSpec]) -> Iterator[tuple[str, bool]]:
    """Each change of the inputs, and whether it breaks clients.

    A request names exactly the inputs of a signature, so the new shape must take every tensor that fitted the old one.
    """
    before, after = _by_name(old), _by_name(new)
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"input {name} was removed", True
        elif name not in before:
            yield f"input {name} was added, and requests without it fail", True
        else:
            fits = _fits(before[name].shape, after[name].shape)
            yield from _tensor_changes("input", before[name], after[name], fits=fits)


def _output_changes(old: Sequence[TensorSpec], new: Sequence[TensorSpec]) -> Iterator[tuple[str, bool]]:
    """Each change of the outputs, and whether it breaks clients.

    Clients rely on names and shapes, so every tensor of the new shape must fit the old one. Over REST, a single output
    has no name.
    """
    before, after = _by_name(old), _by_name(new)
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"output {name} was removed", True
        elif name not in before and len(before) == 1 < len(after):
            yield f"output {name} was added: REST responses are now objects, and were bare values", True
        elif name not in before:
            yield f"output {name} was added", False
        else:
            fits = _fits(after[name].shape, before[name].shape)
            yield from _tensor_changes("output", before[name], after[name], fits=fits)


def _tensor_changes(role: str, old: TensorSpec, new: TensorSpec, *, fits: bool) -> Iterator[tuple[str, bool]]:
    """Changes of one tensor's dtype and shape. `role` is "input" or "output"; a change of shape breaks unless it `fits`."""
    if old.dtype != new.dtype:
        yield f"{role} {old.name} was {old.dtype}, and is {new.dtype}", True
    if old.shape != new.shape:
        yield f"{role} {old.name} was {old.shape_text}, and is {new.shape_text}", not fits


def _fits(shape: Shape | None, wanted: Shape | None) -> bool:
    """Whether every tensor of `shape` fits `wanted`. None is an unknown rank, and None in a shape any size."""
    if wanted is None:
        return True
    if shape is None or len(shape) != len(wanted):
        return False
    return all(wanted_size in (None, size) for size, wanted_size in zip(shape, wanted, strict=True))


def _by_name(specs: Sequence[TensorSpec]) -> dict[str, TensorSpec]:
    return {spec.name: spec for spec in specs}
