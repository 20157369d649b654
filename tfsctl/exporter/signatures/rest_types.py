"""Notes on tensors whose types TensorFlow Serving's REST API cannot carry, such as float16."""

from __future__ import annotations

from collections.abc import Iterable

from tfsctl.core import dtypes
from tfsctl.core.types import Signature, TensorSpec


def notes_on_types(signatures: Iterable[Signature]) -> list[str]:
    """A note for each signature that REST clients cannot use."""
    return [
        f"signature {signature.name}: {tensors}, which REST cannot carry: use gRPC (predict --grpc){_mixed_precision_hint(signature)}"
        for signature in signatures
        if (tensors := ", ".join([*_describe("input", signature.inputs), *_describe("output", signature.outputs)]))
    ]


def _describe(kind: str, specs: Iterable[TensorSpec]) -> list[str]:
    return [f"{kind} {spec.name} is {spec.dtype}" for spec in specs if not _has_json_form(spec)]


def _has_json_form(spec: TensorSpec) -> bool:
    dtype = dtypes.BY_NAME.get(spec.dtype)
    return spec.encoding != "dense" or (dtype is not None and dtype.has_json_form)


def _mixed_precision_hint(signature: Signature) -> str:
    """The change for a model of mixed precision."""
    small = {spec.dtype for spec in signature.outputs} & {"float16", "bfloat16"}
    return ", or give the last layer dtype='float32'" if small else ""
