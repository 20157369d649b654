"""Fixes or frees the batch dimension of signatures: the first dimension of every input that has one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tfsctl.core.types import Shape
from tfsctl.errors import InvalidInput
from tfsctl.exporter.export_signature import ExportSignature
from tfsctl.exporter.sources.export_options import BatchSize


def set_batch_size(signatures: Sequence[ExportSignature], size: BatchSize | None) -> Sequence[ExportSignature]:
    """The signatures with this batch size; None leaves them as they are.

    Raises InvalidInput if the inputs of a signature declare another fixed size, and a number is wanted.
    """
    return signatures if size is None else [_set(signature, size) for signature in signatures]


def _set(signature: ExportSignature, size: BatchSize) -> ExportSignature:
    fixed = sorted({spec.shape[0] for spec in signature.inputs if spec.shape and spec.shape[0] is not None})
    if isinstance(size, int) and any(declared != size for declared in fixed):
        raise InvalidInput(
            f"--batch-size {size}: signature {signature.name} has a fixed batch of {', '.join(map(str, fixed))}",
            hint="remove --batch-size, or build the model with another batch size",
        )
    first = None if size == "none" else size
    inputs = tuple(replace(spec, shape=_with_first(spec.shape, first)) for spec in signature.inputs)
    return replace(signature, inputs=inputs)


def _with_first(shape: Shape | None, size: int | None) -> Shape | None:
    return (size, *shape[1:]) if shape else shape
