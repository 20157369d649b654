"""The values that pass between the rooms of tfsctl, in TensorFlow Serving's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

DEFAULT_SIGNATURE = "serving_default"
DEFAULT_GRPC_PORT = 8500
DEFAULT_REST_PORT = 8501

Json = Any
"""A JSON value as `json.loads` returns it, or as `json.dumps` takes it."""

State = Literal["UNKNOWN", "START", "LOADING", "AVAILABLE", "UNLOADING", "END"]
Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Which model, and which of its versions: a number, a label, or (neither) the latest."""

    name: str
    version: int | None = None
    label: str | None = None

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.name} version {self.version}"
        if self.label is not None:
            return f"{self.name} label {self.label}"
        return self.name


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a signature.

    `dtype` is TensorFlow's name (`float32`, `string`); `shape` has None for a free dimension and is None itself when
    the rank is unknown; `tensor` is the name in the graph (`serving_default_text:0`).
    """

    name: str
    dtype: str
    shape: Shape | None
    tensor: str = ""

    @property
    def shape_text(self) -> str:
        """The shape as people write it: `[batch, 3]`, `[]`, `unknown rank`."""
        if self.shape is None:
            return "unknown rank"
        dims = ["?" if dim is None else str(dim) for dim in self.shape]
        if self.shape and self.shape[0] is None:
            dims[0] = "batch"
        return f"[{', '.join(dims)}]"


@dataclass(frozen=True, slots=True)
class Signature:
    """A named function of a model: its inputs and outputs, each sorted by name."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    method_name: str = ""

    def input(self, name: str) -> TensorSpec | None:
        """The input of that name, or None."""
        return next((spec for spec in self.inputs if spec.name == name), None)


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a served model says about itself. `signatures` leaves out TensorFlow's internal `__…` entries."""

    name: str
    version: int | None
    signatures: Mapping[str, Signature]


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """One version's place in its life, as GetModelStatus reports it."""

    version: int
    state: State
    error_code: str = "OK"
    error_message: str = ""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A model's answer: an array for each output, not to be written to (a large one is the answer's own bytes).

    `version` is None where the transport does not tell (REST).
    """

    outputs: Mapping[str, np.ndarray]
    model: str
    version: int | None = None
    signature: str = DEFAULT_SIGNATURE
    latency_s: float = field(default=0.0, compare=False)

    def __post_init__(self) -> None:
        """Let no array be written to: not only the large ones."""
        for array in self.outputs.values():
            array.setflags(write=False)
