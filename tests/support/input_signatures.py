"""Signatures with inputs of common dtypes and shapes."""

from __future__ import annotations

from tfsctl.core.types import Shape, Signature, TensorSpec


def signature(**inputs: tuple[str, Shape | None]) -> Signature:
    """A signature with these inputs."""
    specs = tuple(TensorSpec(name, dtype, shape) for name, (dtype, shape) in inputs.items())
    return Signature("serving_default", specs, ())


TEXT = signature(text=("string", (None,)))
TEXT_COLUMN = signature(text=("string", (None, 1)))
NUMBER = signature(x=("float32", (None,)))
NUMBER_COLUMN = signature(x=("int32", (None, 1)))
VECTOR = signature(x=("float32", (None, 3)))
PAIR_OF_VECTORS = signature(x=("float32", (2, 3)))
SCALAR = signature(x=("float32", ()))
INTEGERS = signature(x=("int64", (None,)))
ANY = signature(x=("float32", None))
MIXED = signature(left=("float32", (None, 3)), training=("bool", None), keep=("float32", None))
HOUSE = signature(area=("float32", (None,)), city=("string", (None,)))
