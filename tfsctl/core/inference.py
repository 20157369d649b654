"""Classify and regress in values: what is asked (examples made of features, and tasks), and what is answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tfsctl.core.types import Signature

Method = Literal["classify", "regress"]
Feature = Sequence[bytes] | Sequence[int] | Sequence[float]  # values of one kind: what a tf.Example's feature holds
METHODS: tuple[Method, ...] = ("classify", "regress")
_OUTPUTS = {"classify": {"classes", "scores"}, "regress": {"outputs"}}
Features = Mapping[str, Feature]


@dataclass(frozen=True, slots=True)
class Examples:
    """The rows of a request, each a tf.Example's features; `context` holds the features all of them share."""

    rows: tuple[Features, ...]
    context: Features = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Task:
    """One signature to run on the examples, and how."""

    method: Method
    signature: str


@dataclass(frozen=True, slots=True)
class ScoredClass:
    """One class of a classification. The label is empty where the model gives scores alone."""

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Inference:
    """What one task came to: for each example its classes (classify), or its value (regress).

    `version` is None where the transport does not tell (REST).
    """

    task: Task
    model: str
    version: int | None
    classes: tuple[tuple[ScoredClass, ...], ...] = ()
    values: tuple[float, ...] = ()
    latency_s: float = field(default=0.0, compare=False)


def is_made_for(signature: Signature, method: Method) -> bool:
    """Whether a signature is made for the method: by its method name, or by the names of its inputs and outputs."""
    if signature.method_name == f"tensorflow/serving/{method}":
        return True
    outputs = {spec.name for spec in signature.outputs}
    inputs = [(spec.name, spec.dtype) for spec in signature.inputs]
    return inputs == [("inputs", "string")] and bool(outputs) and outputs <= _OUTPUTS[method]
