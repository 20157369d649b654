"""Predict with a signature: the tensors of a request matched to the inputs and outputs that the signature names.

Messages: tensorflow_serving/servables/tensorflow/predict_util.cc.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tfsctl.server.execution.servable import Servable
from tfsctl.server.runtime.session import BoundSignature, Endpoint
from tfsctl.server.status import Code, ServingError, invalid_argument

_MAX_SIZES_OF_EMPTY = 2**24  # the product of the sizes of an empty tensor, without those of 0


def _names(names: Iterable[str]) -> str:
    return f"{{{','.join(sorted(names))}}}"


def bind_signature(servable: Servable, name: str) -> BoundSignature:
    """The signature of that name. Raises FAILED_PRECONDITION if the version has none."""
    bound = servable.signature(name)
    if bound is None:
        raise ServingError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    return bound


def feeds_for(bound: BoundSignature, inputs: Mapping[str, np.ndarray]) -> list[tuple[Endpoint, np.ndarray]]:
    """Pair each input with its place in the graph. Raises INVALID_ARGUMENT unless the names are the signature's."""
    wanted, sent = bound.inputs.keys(), inputs.keys()
    if wanted == sent:
        return [(endpoint, inputs[alias]) for alias, endpoint in bound.inputs.items()]
    if len(wanted) != len(sent):
        raise invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({_names(sent)}) != "
            f"len({_names(wanted)}). Sent extra: {_names(sent - wanted)}. "
            f"Missing but required: {_names(wanted - sent)}."
        )
    alias = next(alias for alias in bound.inputs if alias not in inputs)
    raise invalid_argument(
        f"Signature input alias: {alias}(feed name: {bound.inputs[alias].tensor_name}) not found in request and no "
        f"default value provided. Inputs expected to be in the request {_names(sent)}, or default input alias "
        "set: "
    )


def check_shapes(bound: BoundSignature, inputs: Mapping[str, np.ndarray]) -> None:
    """Raise INVALID_ARGUMENT for a tensor whose shape could end the process: of another rank, or empty with a huge size.

    An empty tensor of any shape takes no memory. A graph that allocates by one of its sizes would: TensorFlow aborts if,
    for example, there is no memory for a TensorArray.
    """
    for alias, array in inputs.items():
        if not array.size and math.prod(filter(None, array.shape)) > _MAX_SIZES_OF_EMPTY:
            raise invalid_argument(f"input {alias} is empty, and its shape {list(array.shape)} too large")
    for alias, rank in bound.ranks.items():
        if inputs[alias].ndim != rank:
            raise invalid_argument(
                f"input {alias} must be {rank}-dimensional, as in the signature: its shape is {list(inputs[alias].shape)}"
            )


def fetches_for(bound: BoundSignature, output_filter: Sequence[str]) -> Sequence[Endpoint]:
    """The outputs to fetch: those in the filter, all if it is empty. Raises INVALID_ARGUMENT for an unknown one."""
    if not output_filter:
        return bound.fetches
    chosen: dict[str, Endpoint] = {}
    for alias in output_filter:
        if alias not in bound.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{_names(bound.outputs)}."
            )
        if alias in chosen:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
        chosen[alias] = bound.outputs[alias]
    return tuple(chosen.values())
