"""Classify and regress with a ServingClient: choose the signatures, and send examples in the types the model reads."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tfsctl.clients.serving_client import ServingClient
from tfsctl.core.inference import Examples, InferenceResult, InferenceTask, Method, supports_method
from tfsctl.core.types import DEFAULT_SIGNATURE, ModelMetadata, ModelRef
from tfsctl.errors import InvalidInput, RequestRejected
from tfsctl.inputs.features import as_float
from tfsctl.inputs.predict_inputs import choose_signature

# The error for an integer in a feature of floats. The signature does not tell the type of a feature.
_WANTS_FLOAT = re.compile(r"Key: (?P<name>.+?), Index: .*Data type: int64 but expected type: float")


def infer(
    client: ServingClient, model: ModelRef, examples: Examples, tasks: Sequence[InferenceTask]
) -> list[InferenceResult]:
    """Send the tasks. Integers for a feature that turns out to hold floats are converted, and the tasks sent again."""
    try:
        return client.infer(model, examples, tasks)
    except RequestRejected as error:
        match = _WANTS_FLOAT.search(error.message)
        changed = as_float(examples, match["name"]) if match else examples
        if _value_types(changed) == _value_types(examples):
            raise
    return infer(client, model, changed, tasks)


def choose_tasks(served: ModelMetadata, method: Method, names: Sequence[str]) -> list[InferenceTask]:
    """A task for each named signature (default: the signature for this method). Raises NotFound or InvalidInput."""
    if names:
        return [InferenceTask(method, choose_signature(served, name).name) for name in names]
    candidates = [name for name, signature in served.signatures.items() if supports_method(signature, method)]
    if DEFAULT_SIGNATURE in candidates or not candidates:
        return [InferenceTask(method, choose_signature(served, None).name)]
    if len(candidates) > 1:
        raise InvalidInput(
            f"{served.name} has several signatures to {method} with: {', '.join(candidates)}",
            hint="choose with --signature NAME, which may be repeated",
        )
    return [InferenceTask(method, candidates[0])]


def _value_types(examples: Examples) -> list[list[type]]:
    """The types of all values, because 1 == 1.0 in Python."""
    return [[type(value) for values in row.values() for value in values] for row in (*examples.rows, examples.context)]
