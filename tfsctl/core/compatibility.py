"""Compares the signatures of two versions: what changed, and whether it breaks clients."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tfsctl.core.types import Shape, Signature, TensorSpec


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `breaks`: requests that worked would fail, or answers would have another form."""

    signature: str
    what: str
    breaks: bool


def compare(old: Mapping[str, Signature], new: Mapping[str, Signature]) -> tuple[Change, ...]:
    """All changes from the old signatures to the new ones, sorted by signature name."""
    return tuple(change for name in sorted(old.keys() | new.keys()) for change in _signature(name, old, new))


def _signature(name: str, old: Mapping[str, Signature], new: Mapping[str, Signature]) -> Iterator[Change]:
    if name not in new:
        yield Change(name, "the signature was removed", breaks=True)
    elif name not in old:
        yield Change(name, "the signature was added", breaks=False)
    else:
        for what, breaks in _inputs(old[name].inputs, new[name].inputs):
            yield Change(name, what, breaks)
        for what, breaks in _outputs(old[name].outputs, new[name].outputs):
            yield Change(name, what, breaks)


def _inputs(old: Sequence[TensorSpec], new: Sequence[TensorSpec]) -> Iterator[tuple[str, bool]]:
    """Changes of inputs. A request names exactly the inputs of a signature, and may have any shape that fits them."""
    before, after = _by_name(old), _by_name(new)
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"input {name} was removed", True
        elif name not in before:
            yield f"input {name} was added, and requests without it fail", True
        else:
            yield from _tensor("input", before[name], after[name], fits=_fits(before[name].shape, after[name].shape))


def _outputs(old: Sequence[TensorSpec], new: Sequence[TensorSpec]) -> Iterator[tuple[str, bool]]:
    """Changes of outputs. Clients rely on names and shapes; over REST, a single output has no name."""
    before, after = _by_name(old), _by_name(new)
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"output {name} was removed", True
        elif name not in before and len(before) == 1 < len(after):
            yield f"output {name} was added: REST responses are now objects, and were bare values", True
        elif name not in before:
            yield f"output {name} was added", False
        else:
            yield from _tensor("output", before[name], after[name], fits=_fits(after[name].shape, before[name].shape))


def _tensor(way: str, old: TensorSpec, new: TensorSpec, *, fits: bool) -> Iterator[tuple[str, bool]]:
    if old.dtype != new.dtype:
        yield f"{way} {old.name} was {old.dtype}, and is {new.dtype}", True
    if old.shape != new.shape:
        yield f"{way} {old.name} was {old.shape_text}, and is {new.shape_text}", not fits


def _fits(given: Shape | None, wanted: Shape | None) -> bool:
    """Whether every tensor of the given shape fits the wanted shape."""
    if wanted is None:
        return True
    if given is None or len(given) != len(wanted):
        return False
    return all(size is None or size == found for found, size in zip(given, wanted, strict=True))


def _by_name(specs: Sequence[TensorSpec]) -> dict[str, TensorSpec]:
    return {spec.name: spec for spec in specs}
