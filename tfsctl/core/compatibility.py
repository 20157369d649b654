"""Whether clients of one version can use another: the changes between their signatures, and which of them break calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tfsctl.core.types import Shape, Signature, TensorSpec


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: in which signature, what it is, and whether requests that worked would fail or answers differ."""

    signature: str
    what: str
    breaks: bool


def compare(old: Mapping[str, Signature], new: Mapping[str, Signature]) -> tuple[Change, ...]:
    """Every change from the old signatures to the new ones, by signature."""
    return tuple(change for name in sorted(old.keys() | new.keys()) for change in _signature(name, old, new))


def _signature(name: str, old: Mapping[str, Signature], new: Mapping[str, Signature]) -> Iterator[Change]:
    if name not in new:
        yield Change(name, "the signature is gone", breaks=True)
    elif name not in old:
        yield Change(name, "the signature is new", breaks=False)
    else:
        for what, breaks in _inputs(old[name].inputs, new[name].inputs):
            yield Change(name, what, breaks)
        for what, breaks in _outputs(old[name].outputs, new[name].outputs):
            yield Change(name, what, breaks)


def _inputs(old: Sequence[TensorSpec], new: Sequence[TensorSpec]) -> Iterator[tuple[str, bool]]:
    """A request names exactly the inputs there are; each must take every shape it took."""
    before, after = _by_name(old), _by_name(new)
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"input {name} is gone", True
        elif name not in before:
            yield f"input {name} is new, and every request must have it", True
        else:
            yield from _tensor("input", before[name], after[name], fits=_fits(before[name].shape, after[name].shape))


def _outputs(old: Sequence[TensorSpec], new: Sequence[TensorSpec]) -> Iterator[tuple[str, bool]]:
    """An answer must have what it had, and in shapes it could have had. Over REST a single output has no name."""
    before, after = _by_name(old), _by_name(new)
    for name in sorted(before.keys() | after.keys()):
        if name not in after:
            yield f"output {name} is gone", True
        elif name not in before and len(before) == 1 < len(after):
            yield f"output {name} is new: answers over REST are objects now, and were bare values", True
        elif name not in before:
            yield f"output {name} is new", False
        else:
            yield from _tensor("output", before[name], after[name], fits=_fits(after[name].shape, before[name].shape))


def _tensor(way: str, old: TensorSpec, new: TensorSpec, *, fits: bool) -> Iterator[tuple[str, bool]]:
    if old.dtype != new.dtype:
        yield f"{way} {old.name} was {old.dtype}, and is {new.dtype}", True
    if old.shape != new.shape:
        yield f"{way} {old.name} was {old.shape_text}, and is {new.shape_text}", not fits


def _fits(given: Shape | None, wanted: Shape | None) -> bool:
    """Whether every tensor of one shape is one of the other."""
    if wanted is None:
        return True
    if given is None or len(given) != len(wanted):
        return False
    return all(size is None or size == found for found, size in zip(given, wanted, strict=True))


def _by_name(specs: Sequence[TensorSpec]) -> dict[str, TensorSpec]:
    return {spec.name: spec for spec in specs}
