"""The tensors of a batch: concatenates the rows of many requests for one run, and splits its outputs again.

Rules and messages: tensorflow_serving/batching/batching_session.cc and batching_util.cc.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfsctl.server.batching.parameters import BatchingParameters
from tfsctl.server.runtime.session import Arrays, Endpoint, Feeds
from tfsctl.server.status import Code, ServingError, invalid_argument

_MAX_PADDED_RANK = 6


def rows_of(feeds: Feeds) -> int:
    """The rows of one request. Raises INVALID_ARGUMENT unless all of its inputs have the same number."""
    if not feeds:
        raise invalid_argument("Batching Run() must have at least one input tensor")
    rows = -1
    for _, array in feeds:
        if not array.ndim:
            raise invalid_argument("Batching Run() input tensors must have at least one dimension")
        if rows not in (-1, len(array)):
            raise invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")
        rows = len(array)
    return rows


def merge(requests: Sequence[Feeds], parameters: BatchingParameters) -> Feeds:
    """The inputs of one run for several requests, padded with more rows if this number of rows is not allowed.

    Raises FAILED_PRECONDITION or INVALID_ARGUMENT if the rows differ in shape and padding is off, or impossible.
    """
    total = sum(len(feeds[0][1]) for feeds in requests)
    surplus = parameters.padded_rows(total) - total if total else 0
    if len(requests) == 1 and not surplus:
        return requests[0]
    inputs = []
    for index, (endpoint, _) in enumerate(requests[0]):
        arrays = [feeds[index][1] for feeds in requests]
        if any(array.shape[1:] != arrays[0].shape[1:] for array in arrays):
            if not parameters.pad_variable_length_inputs:
                raise _padding_is_off(endpoint)
            arrays = _pad(arrays, endpoint)
        if surplus:  # the first row of the last request is a row that the model accepts
            arrays.append(np.repeat(arrays[-1][:1], surplus, axis=0))
        inputs.append((endpoint, np.concatenate(arrays)))
    return inputs


def _padding_is_off(endpoint: Endpoint) -> ServingError:
    return ServingError(
        Code.FAILED_PRECONDITION,
        f"Tensors with name '{endpoint.tensor_name}' from different tasks have different shapes and padding is "
        "turned off. Set pad_variable_length_inputs to true, or ensure that all tensors with the same name have "
        "equal dimensions starting with the first dim.",
    )


def _pad(arrays: Arrays, endpoint: Endpoint) -> Arrays:
    """The arrays padded to the same size in all dimensions but the first, each with its own first value."""
    ranks = {array.ndim for array in arrays}
    if len(ranks) > 1:
        raise invalid_argument(f"Tensors with name '{endpoint.tensor_name}' from different tasks have different ranks.")
    if max(ranks) > _MAX_PADDED_RANK:
        raise invalid_argument("Only tensors with rank from 1 to 6 can be padded.")
    shape = np.max([array.shape[1:] for array in arrays], axis=0)
    padded = []
    for array in arrays:
        if not array.size and shape.all():
            raise invalid_argument("Got empty tensor in batch of non-empty tensors.")
        full = np.empty((len(array), *shape), array.dtype)
        if array.size:
            full.fill(array.flat[0])
        full[tuple(slice(size) for size in array.shape)] = array
        padded.append(full)
    return padded


def split(arrays: Arrays, fetches: Sequence[Endpoint], sizes: Sequence[int], total: int) -> list[Arrays]:
    """The outputs of each request, from a run of `total` rows; `sizes` are the rows of the requests.

    Raises FAILED_PRECONDITION for an output that does not have one row for each row of input.
    """
    if any(not array.ndim or len(array) != total for array in arrays):
        by_name = sorted(zip((e.tensor_name for e in fetches), arrays, strict=True), key=lambda pair: pair[0])
        first = next(array for _, array in by_name if not array.ndim or len(array) != total)
        message = "Batched output tensor has 0 dimensions"
        if first.ndim:
            message = (
                "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the input "
                "tensors"
            )
        raise ServingError(Code.FAILED_PRECONDITION, message)
    answers, start = [], 0
    for size in sizes:
        answers.append([array[start : start + size] for array in arrays])
        start += size
    return answers
