"""One signature to be: named inputs, and a function from them to named outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tfsctl.core.types import TensorSpec
from tfsctl.exporter import naming

Tree = Any
"""Lists, tuples and dicts of tensors, of their specs or shapes, nested as a model has them; or only one of these."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A signature before it is written.

    `call` takes a tensor for each of `inputs`, in that order, and returns outputs by name. `notes` are for the user.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    call: Callable[..., dict[str, Any]]
    notes: tuple[str, ...] = ()


def by_name(answer: Tree, layers: Sequence[str | None] = ()) -> dict[str, Any]:
    """Lay a model's answer out by name; `layers` names outputs that have no dict key, None where nobody named them."""
    import keras

    leaves = keras.tree.flatten_with_path(answer)
    names = naming.output_names(
        [naming.from_path(path) or (layers[i] if i < len(layers) else None) for i, (path, _) in enumerate(leaves)]
    )
    return {name: leaf for name, (_, leaf) in zip(names, leaves, strict=True)}
