"""Signatures as rows of a table and as JSON values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tfsctl.core.types import Signature, TensorSpec

COLUMNS = ("signature", "", "name", "dtype", "shape")


def rows(signatures: Iterable[Signature]) -> list[tuple[str, ...]]:
    """One row per input and output, with the cells of `COLUMNS`."""
    return [
        (signature.name, direction, spec.name, spec.dtype, spec.shape_text)
        for signature in signatures
        for direction, specs in (("input", signature.inputs), ("output", signature.outputs))
        for spec in specs
    ]


def document(signatures: Mapping[str, Signature]) -> dict[str, Any]:
    """The signatures as JSON values. An unknown dimension is null, and so is a shape of unknown rank."""
    return {
        name: {
            "inputs": {spec.name: _spec(spec) for spec in signature.inputs},
            "outputs": {spec.name: _spec(spec) for spec in signature.outputs},
            "method_name": signature.method_name,
        }
        for name, signature in signatures.items()
    }


def _spec(spec: TensorSpec) -> dict[str, Any]:
    values = {"dtype": spec.dtype, "shape": None if spec.shape is None else list(spec.shape), "tensor": spec.tensor}
    return values if spec.encoding == "dense" else {**values, "encoding": spec.encoding}
