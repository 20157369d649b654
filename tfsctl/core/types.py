"""The values that the packages of tfsctl share, in TensorFlow Serving's terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

DEFAULT_SIGNATURE = "serving_default"
PREDICT_METHOD_NAME = "tensorflow/serving/predict"
PREDICT_METHOD_NAMES = (PREDICT_METHOD_NAME, "")  # a signature without a method name is for predict
DEFAULT_GRPC_PORT = 8500
DEFAULT_REST_PORT = 8501

Json = Any
"""A JSON value as `json.loads` returns it, or as `json.dumps` takes it."""

State = Literal["UNKNOWN", "START", "LOADING", "AVAILABLE", "UNLOADING", "END"]
Shape = tuple[int | None, ...]
Encoding = Literal["dense", "sparse", "ragged", "composite"]


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A model and one of its versions, by number or label (default: the latest)."""

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

    - `dtype`: TensorFlow's name (`float32`, `string`).
    - `shape`: None for a free dimension; None as a whole if the rank is unknown.
    - `tensor`: the name in the graph (`serving_default_text:0`); empty unless the encoding is dense.
    - `encoding`: how the values are represented. Predict requests and responses carry dense tensors only.
    """

    name: str
    dtype: str
    shape: Shape | None
    tensor: str = ""
    encoding: Encoding = "dense"

    @property
    def shape_text(self) -> str:
        """The shape for messages: `[batch, 3]`, `[]`, `unknown rank`, `[?, ?] (sparse)`."""
        note = "" if self.encoding == "dense" else f" ({self.encoding})"
        if self.shape is None:
            return f"unknown rank{note}"
        dims = ["?" if dim is None else str(dim) for dim in self.shape]
        if self.shape and self.shape[0] is None:
            dims[0] = "batch"
        return f"[{', '.join(dims)}]{note}"


@dataclass(frozen=True, slots=True, repr=False)
class Signature:
    """A named function of a model. Inputs and outputs are sorted by name.

    `find_sample` reads `sample`. It is None if there are no samples.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    method_name: str = ""
    find_sample: Callable[[], Mapping[str, Json] | None] | None = field(default=None, compare=False, repr=False)

    @property
    def sample(self) -> Mapping[str, Json] | None:
        """A real row, the JSON value of each input, if the export of the model had samples; otherwise None."""
        return None if self.find_sample is None else self.find_sample()

    def input(self, name: str) -> TensorSpec | None:
        """The input of that name, or None."""
        return next((spec for spec in self.inputs if spec.name == name), None)

    def __repr__(self) -> str:
        sides = [", ".join(f"{s.name}: {s.dtype} {s.shape_text}" for s in side) for side in (self.inputs, self.outputs)]
        return f"<Signature {self.name}({sides[0]}) -> {sides[1]}>"


@dataclass(frozen=True, slots=True, repr=False)
class ModelMetadata:
    """The metadata of a served model. `signatures` excludes TensorFlow's internal `__…` entries."""

    name: str
    version: int | None
    signatures: Mapping[str, Signature]

    def __repr__(self) -> str:
        return f"<ModelMetadata {self.name} version {self.version}: {', '.join(self.signatures) or 'no signatures'}>"

    def _repr_html_(self) -> str:
        """A table for notebooks, with one row per input and output."""
        from html import escape

        rows = [
            (signature.name, side, spec.name, spec.dtype, spec.shape_text)
            for signature in self.signatures.values()
            for side, specs in (("input", signature.inputs), ("output", signature.outputs))
            for spec in specs
        ]
        head = "".join(f"<th>{title}</th>" for title in ("signature", "", "name", "dtype", "shape"))
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        caption = escape(f"{self.name} version {self.version}")
        return f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """The state of one version, as GetModelStatus reports it."""

    version: int
    state: State
    error_code: str = "OK"
    error_message: str = ""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer of a model: an array for each output. The arrays are read-only, because large ones are views.

    `version` is None over REST unless the request named one.
    """

    outputs: Mapping[str, np.ndarray]
    model: str
    version: int | None = None
    signature: str = DEFAULT_SIGNATURE
    latency_s: float = field(default=0.0, compare=False)

    def __post_init__(self) -> None:
        """Make all arrays read-only, not only the large ones."""
        for array in self.outputs.values():
            array.setflags(write=False)
