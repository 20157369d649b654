"""Predict with a signature: the tensors of a request matched to the inputs and outputs that the signature names.

Messages: tensorflow_serving/servables/tensorflow/predict_util.cc.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from tfsctl.server.execution.servable import Servable
from tfsctl.server.runtime.session import BoundSignature, Endpoint, Feeds
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
    """Pair each input with its place in the graph, and add the signature's defaults of those that were not sent.

    Raises INVALID_ARGUMENT unless the names are the signature's.
    """
    wanted, sent, defaults = bound.inputs.keys(), inputs.keys(), bound.defaults
    if wanted == sent:
        return [(endpoint, inputs[alias]) for alias, endpoint in bound.inputs.items()]
    if len(sent) > len(wanted) or (len(sent) < len(wanted) and not defaults):
        raise invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(wanted)} len({_names(sent)}) != "
            f"len({_names(wanted)}). Sent extra: {_names(sent - wanted)}. "
            f"Missing but required: {_names(wanted - sent)}."
        )
    for alias, endpoint in bound.inputs.items():
        if alias not in inputs and alias not in defaults:
            raise invalid_argument(
                f"Signature input alias: {alias}(feed name: {endpoint.tensor_name}) not found in request and no "
                f"default value provided. Inputs expected to be in the request {_names(sent)}, or default input alias "
                f"set: {','.join(sorted(defaults))}"
            )
    if not wanted >= sent:
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {','.join(sorted(wanted & sent))}, "
            f"request input: {','.join(sorted(sent))}"
        )
    return [
        (endpoint, inputs[alias] if alias in inputs else _default(alias, defaults[alias]))
        for alias, endpoint in bound.inputs.items()
    ]


def _default(alias: str, array: np.ndarray | None) -> np.ndarray:
    if array is None:
        raise invalid_argument(f"tensor parsing error: {alias}")
    return array


def check_shapes(bound: BoundSignature, feeds: Feeds) -> None:
    """Raise INVALID_ARGUMENT for a tensor whose shape could end the process: of another rank, or empty with a huge size.

    An empty tensor of any shape takes no memory. A graph that allocates by one of its sizes would: TensorFlow aborts if,
    for example, there is no memory for a TensorArray.
    """
    for endpoint, array in feeds:
        if not array.size and math.prod(filter(None, array.shape)) > _MAX_SIZES_OF_EMPTY:
            raise invalid_argument(f"input {endpoint.alias} is empty, and its shape {list(array.shape)} too large")
    if bound.ranks:
        _check_ranks(bound.ranks, feeds)


def _check_ranks(ranks: Mapping[str, int], feeds: Feeds) -> None:
    for endpoint, array in feeds:
        rank = ranks.get(endpoint.alias, array.ndim)
        if array.ndim != rank:
            raise invalid_argument(
                f"input {endpoint.alias} must be {rank}-dimensional, as in the signature: its shape is {list(array.shape)}"
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
