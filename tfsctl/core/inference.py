"""Values of TensorFlow Serving's classify, regress and MultiInference calls.

A request holds examples (tf.Example features) and tasks; the answer holds one result per task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tfsctl.core.types import Signature

Method = Literal["classify", "regress"]
Feature = Sequence[bytes] | Sequence[int] | Sequence[float]  # the values of one feature, all of one type
METHODS: tuple[Method, ...] = ("classify", "regress")
METHOD_NAMES = {method: f"tensorflow/serving/{method}" for method in METHODS}  # the method_name of signatures
_OUTPUTS = {"classify": {"classes", "scores"}, "regress": {"outputs"}}
Features = Mapping[str, Feature]


@dataclass(frozen=True, slots=True)
class Examples:
    """The examples of a request, one per row. `context` holds the features that all of them share."""

    rows: tuple[Features, ...]
    context: Features = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InferenceTask:
    """One signature to run on the examples, and the method to run it with."""

    method: Method
    signature: str


@dataclass(frozen=True, slots=True)
class ScoredClass:
    """One class of a classification. The label is empty if the model returns scores only."""

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class InferenceResult:
    """The result of one task: for each example its classes (classify) or its value (regress).

    `version` is None over REST unless the request named one.
    """

    task: InferenceTask
    model: str
    version: int | None
    classes: tuple[tuple[ScoredClass, ...], ...] = ()
    values: tuple[float, ...] = ()
    latency_s: float = field(default=0.0, compare=False)


def supports_method(signature: Signature, method: Method) -> bool:
    """Whether a signature answers a method, judged by its method name, or by the names of its inputs and outputs."""
    if signature.method_name == METHOD_NAMES[method]:
        return True
    outputs, wanted = {spec.name for spec in signature.outputs}, _OUTPUTS[method]
    inputs = [(spec.name, spec.dtype) for spec in signature.inputs]
    return inputs == [("inputs", "string")] and bool(outputs & wanted) and len(outputs) <= len(wanted)
