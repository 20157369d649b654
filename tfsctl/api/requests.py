"""Converts the arguments of the methods of `Client` to requests: the model, the inputs, and the outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import index
from typing import Any

import numpy as np

from tfsctl.api.data_frames import is_frame
from tfsctl.api.examples import examples_of
from tfsctl.api.inputs import input_arrays, signature_name_of
from tfsctl.clients.example_tasks import predict_examples
from tfsctl.clients.serving_client import ServingClient
from tfsctl.core.inference import Examples
from tfsctl.core.model_dir import MAX_VERSION
from tfsctl.core.types import ModelMetadata, ModelRef, Prediction, Signature
from tfsctl.errors import InvalidInput
from tfsctl.inputs.example_request import example_body, example_row
from tfsctl.inputs.predict_inputs import choose_outputs, choose_signature
from tfsctl.inputs.tf_examples import is_named_for_examples


@dataclass(frozen=True, slots=True)
class PredictCall:
    """A predict request that is not sent yet.

    - `examples`: features by name, if the signature parses tf.Examples; otherwise `arrays` holds the inputs
    - `outputs`: the names of the outputs to return; empty for all
    """

    signature: Signature
    arrays: Mapping[str, np.ndarray]
    examples: Examples | None
    outputs: tuple[str, ...]

    def send(self, client: ServingClient, model: ModelRef) -> Prediction:
        """Send it. Raises as ServingClient documents."""
        if self.examples is not None:
            return predict_examples(client, model, self.signature, self.examples, self.outputs)
        return client.predict(model, self.arrays, signature=self.signature.name, outputs=self.outputs)


def predict_call(
    served: ModelMetadata, inputs: object, signature: str | None, outputs: str | Sequence[str]
) -> PredictCall:
    """Convert the arguments of `Client.predict`.

    Raises NotFound for an unknown signature, and InvalidInput for inputs or outputs that do not fit it.
    """
    in_body = signature_name_of(inputs)
    if None not in (in_body, signature) and in_body != signature:
        raise InvalidInput(f'the body says signature_name "{in_body}", not "{signature}"', hint="remove signature")
    chosen = choose_signature(served, signature if signature is not None else in_body)
    names = output_names(outputs, served, chosen.name)
    if is_named_for_examples(chosen) and _are_features(inputs, chosen.inputs[0].name):
        return PredictCall(chosen, {}, examples_of(inputs), names)
    return PredictCall(chosen, input_arrays(inputs, chosen), None, names)


def _are_features(inputs: object, input_name: str) -> bool:
    """Whether inputs are features by name, and not values of the input or the body of a REST request."""
    if is_frame(inputs):
        return input_name not in inputs.columns
    rows = inputs if isinstance(inputs, (list, tuple)) else [inputs]
    keys = {"b64", "instances", "inputs", "signature_name", input_name}
    return bool(rows) and all(isinstance(row, Mapping) and not row.keys() & keys for row in rows)


def output_names(outputs: str | Sequence[str], served: ModelMetadata, signature: str) -> tuple[str, ...]:
    """Return the names of outputs; a string is one name. Empty for all outputs. Raises InvalidInput for an unknown name."""
    names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    return choose_outputs(served.signatures[signature], names) if names else ()


def model_ref(default: ModelRef | None, model: str | None, version: int | None, label: str | None) -> ModelRef:
    """Return the model of a request: the arguments of a call, then those of `connect`. Raises InvalidInput without one."""
    version = checked_version(version)
    if version is not None and label is not None:
        raise InvalidInput("version and label both choose a version", hint="remove one of them")
    if model is None and default is None:
        raise InvalidInput("the call names no model", hint='predict(…, model="NAME"), or connect(…, model="NAME")')
    if default is None or (model is not None and model != default.name):
        return ModelRef(model or "", version, label)
    if version is not None or label is not None:
        return replace(default, version=version, label=label)
    return default


def checked_version(version: object) -> int | None:
    """Return a version as an int; NumPy's integers are taken too. Raises InvalidInput if it is not a version number."""
    if version is None:
        return None
    try:
        number = index(version)  # type: ignore[arg-type] # TypeError is the point
    except TypeError:
        number = -1
    if isinstance(version, bool) or not 0 <= number <= MAX_VERSION:
        hint = f"version={version}" if isinstance(version, str) and version.isdecimal() else ""
        raise InvalidInput(f"version={version!r} is not a version number", hint=hint)
    return number


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
