"""Classify and regress with a ServingClient: choose the signatures, and send examples in the types the model reads."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from typing import TypeVar

from tfsctl.clients.serving_client import ServingClient
from tfsctl.core.inference import METHODS, Examples, InferenceResult, InferenceTask, Method, supports_method
from tfsctl.core.types import DEFAULT_SIGNATURE, ModelMetadata, ModelRef, Prediction, Signature
from tfsctl.errors import InvalidInput, RequestRejected
from tfsctl.inputs.features import as_float
from tfsctl.inputs.predict_inputs import choose_signature, example_arguments
from tfsctl.inputs.tf_examples import is_named_for_examples, serialize

AnswerT = TypeVar("AnswerT")

# The error for an integer in a feature of floats. The signature does not have the type of a feature.
_WANTS_FLOAT = re.compile(r"Key: (?P<name>.+?), Index: .*Data type: int64 but expected type: float")


def infer(
    client: ServingClient, model: ModelRef, examples: Examples, tasks: Sequence[InferenceTask]
) -> list[InferenceResult]:
    """Send the tasks, again with floats if the model reads floats. Raises what `client.infer` raises."""
    return send_examples(examples, lambda typed: client.infer(model, typed, tasks))


def predict_examples(
    client: ServingClient,
    model: ModelRef,
    signature: Signature,
    examples: Examples,
    outputs: Sequence[str] = (),
) -> Prediction:
    """Send serialized tf.Examples to a predict signature that parses them. Raises what `client.predict` raises."""
    (spec,) = signature.inputs
    return send_examples(
        examples,
        lambda typed: client.predict(model, {spec.name: serialize(typed)}, signature=signature.name, outputs=outputs),
    )


def send_examples(examples: Examples, send: Callable[[Examples], AnswerT]) -> AnswerT:
    """Call `send` with examples. Integers of a feature that turns out to hold floats are converted, and sent again."""
    try:
        return send(examples)
    except RequestRejected as error:
        match = _WANTS_FLOAT.search(error.message)
        changed = as_float(examples, match["name"]) if match else examples
        if _value_types(changed) == _value_types(examples):
            raise
    return send_examples(changed, send)


def choose_tasks(served: ModelMetadata, method: Method, names: Sequence[str]) -> list[InferenceTask]:
    """A task for each named signature (default: the signature for this method).

    Raises NotFound for an unknown signature, InvalidInput for one that does not support the method or if several do.
    """
    candidates = [name for name, signature in served.signatures.items() if supports_method(signature, method)]
    if names or not candidates:
        chosen = [choose_signature(served, name) for name in names or (None,)]
        for signature in chosen:
            if signature.name not in candidates:
                raise _unsupported(served, signature, method, candidates)
        return [InferenceTask(method, signature.name) for signature in chosen]
    if DEFAULT_SIGNATURE in candidates:
        return [InferenceTask(method, DEFAULT_SIGNATURE)]
    if len(candidates) > 1:
        raise InvalidInput(
            f"{served.name} has several signatures for {method}: {', '.join(candidates)}",
            hint=f"choose one with --signature {shlex.quote(candidates[0])}; the option may be repeated",
        )
    return [InferenceTask(method, candidates[0])]


def _unsupported(
    served: ModelMetadata, signature: Signature, method: Method, candidates: Sequence[str]
) -> InvalidInput:
    """The error for a signature that the server would refuse to classify or regress with."""
    option = f"--model {shlex.quote(served.name)} "
    if served.signatures.keys() != {signature.name}:
        option += f"--signature {shlex.quote(signature.name)} "
    if candidates:
        hint = f"--signature {shlex.quote(candidates[0])} supports it"
    elif other := next((other for other in METHODS if supports_method(signature, other)), None):
        hint = f"tfsctl {other} {option}FEATURE=VALUE"
    elif is_named_for_examples(signature):
        hint = f"tfsctl predict --example {option}FEATURE=VALUE"
    else:
        hint = f"tfsctl predict {option}{example_arguments(signature) or 'NAME=VALUE'}"
    outputs = "classes or scores" if method == "classify" else "outputs"
    return InvalidInput(
        f"signature {signature.name} of {served.name} does not support {method}, "
        f"which needs the input inputs and the outputs {outputs}",
        hint=hint,
    )


def _value_types(examples: Examples) -> list[list[type]]:
    """The types of all values, because 1 == 1.0 in Python."""
    return [[type(value) for values in row.values() for value in values] for row in (*examples.rows, examples.context)]
