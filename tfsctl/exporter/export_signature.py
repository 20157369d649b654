"""A signature of the source model: named inputs, and a function from them to named outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from tfsctl.core.types import PREDICT_METHOD_NAME, TensorSpec
from tfsctl.exporter import naming

Tree = Any
"""Nested lists, tuples and dicts of tensors (or of their specs or shapes), or a single one."""


@dataclass(frozen=True, slots=True)
class ExportSignature:
    """A signature to export.

    `call` takes a tensor for each of `inputs`, in that order, and returns outputs by name. `notes` are shown to the user.
    `method_name` names the call of TensorFlow Serving that the signature is for (`SignatureDef.method_name`).
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    call: Callable[..., dict[str, Any]]
    notes: tuple[str, ...] = ()
    method_name: str = PREDICT_METHOD_NAME


def outputs_by_name(answer: Tree, layers: Sequence[str | None] = ()) -> dict[str, Any]:
    """The outputs of a model by name. `layers` holds names for outputs without a dict key, or None for generated names."""
    import keras

    leaves = keras.tree.flatten_with_path(keras.tree.traverse(_fields_by_name, answer))
    names = naming.output_names(
        [naming.from_path(path) or (layers[i] if i < len(layers) else None) for i, (path, _) in enumerate(leaves)]
    )
    return {name: leaf for name, (_, leaf) in zip(names, leaves, strict=True)}


def _fields_by_name(answer: Tree) -> Tree:
    """The fields of a NamedTuple or dataclass by name, also within each other; None for anything else."""
    import keras

    if isinstance(answer, tuple) and hasattr(answer, "_asdict"):
        return keras.tree.traverse(_fields_by_name, answer._asdict())
    if is_dataclass(answer) and not isinstance(answer, (type, Mapping)):
        values = {field.name: getattr(answer, field.name) for field in fields(answer)}
        return keras.tree.traverse(_fields_by_name, values)
    return None
