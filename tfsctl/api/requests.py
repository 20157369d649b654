"""One request of `Client`: the model it goes to, the arrays it sends, and the calls it makes.

`Client` and `AsyncClient` share these functions. Each function that takes a `ServingClient` blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tfsctl.api.inputs import input_arrays, signature_name_of
from tfsctl.core.types import ModelMetadata, ModelRef
from tfsctl.errors import InvalidInput
from tfsctl.inputs.example_request import example_body, example_row
from tfsctl.inputs.predict_inputs import choose_outputs, choose_signature


@dataclass(frozen=True, slots=True)
class PredictCall:
    """The arguments of a predict request. `outputs` are all outputs if it is empty."""

    signature: str
    arrays: Mapping[str, np.ndarray]
    outputs: tuple[str, ...]


def predict_call(
    served: ModelMetadata, inputs: object, signature: str | None, outputs: str | Sequence[str]
) -> PredictCall:
    """Convert the arguments of `Client.predict`.

    Raises NotFound for an unknown signature, and InvalidInput for inputs or outputs that do not fit it.
    """
    in_body = signature_name_of(inputs)
    if None not in (in_body, signature) and in_body != signature:
        raise InvalidInput(
            f'the body says signature_name "{in_body}", and not "{signature}"', hint="leave out signature"
        )
    chosen = choose_signature(served, signature if signature is not None else in_body)
    return PredictCall(chosen.name, input_arrays(inputs, chosen), output_names(outputs, served, chosen.name))


def output_names(outputs: str | Sequence[str], served: ModelMetadata, signature: str) -> tuple[str, ...]:
    """Return the names of outputs; a string is one name. Empty for all outputs. Raises InvalidInput for an unknown name."""
    names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    return choose_outputs(served.signatures[signature], names) if names else ()


def model_ref(default: ModelRef | None, model: str | None, version: int | None, label: str | None) -> ModelRef:
    """Return the model of a request: the arguments of a call, then those of `connect`. Raises InvalidInput without one."""
    if version is not None and label is not None:
        raise InvalidInput("version and label both choose a version", hint="leave out one of them")
    if model is None and default is None:
        raise InvalidInput("which model?", hint='predict(…, model="NAME"), or connect(…, model="NAME")')
    if default is None or (model is not None and model != default.name):
        return ModelRef(model or "", version, label)
    if version is not None or label is not None:
        return replace(default, version=version, label=label)
    return default


def sample_body(served: ModelMetadata, signature: str | None) -> dict[str, Any]:
    """Return the body of an example request with one row, as `tfsctl sample` prints it. Raises NotFound."""
    import json

    chosen = choose_signature(served, signature)
    if chosen.method_name in ("tensorflow/serving/classify", "tensorflow/serving/regress"):
        verb = chosen.method_name.rpartition("/")[2]
        raise InvalidInput(
            f"{chosen.name} takes examples, and a signature does not tell which features they have",
            hint=f'{verb}({{"FEATURE": VALUE}})',
        )
    body = example_body(chosen)
    document: dict[str, Any] = {"instances": [example_row(chosen)]} if body is None else json.loads(body)
    return document
