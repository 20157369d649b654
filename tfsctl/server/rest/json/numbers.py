"""Large arrays of nothing but numbers, read by simdjson straight into numpy: no Python object for any of them.

simdjson gives the numbers of nested lists in a row and does not say how they were nested. So what is left of the text
without its numbers, brackets and commas, is compared with what a regular array of that shape leaves. Whatever is not
as plain as that (NaN, strings, ragged lists, objects) is not read here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import simdjson

from tfsctl.core.dtypes import DType
from tfsctl.server.rest.json.tensor import INPUTS, INSTANCES, MAX_RANK, SIGNATURE_NAME, as_dtype

_OF_NUMBERS = b"0123456789+-.eE \n\r\t"


def plain_inputs(
    body: bytes, dtypes_of: Callable[[str], Mapping[str, DType]]
) -> tuple[str, dict[str, np.ndarray], bool] | None:
    """The signature that a predict body asks for, its one input, and whether it was in row form.

    `dtypes_of` tells the dtypes of a signature's inputs, and may raise. None if the body has to be read another way.
    """
    try:
        document: Any = simdjson.Parser().parse(body)
    except (ValueError, RuntimeError):
        return None
    if not isinstance(document, simdjson.Object):
        return None
    keys = list(document.keys())
    signature = document[SIGNATURE_NAME] if SIGNATURE_NAME in keys else ""
    forms = [key for key in keys if key != SIGNATURE_NAME]
    if forms not in ([INSTANCES], [INPUTS]) or not isinstance(signature, str):
        return None
    wanted = dtypes_of(signature)
    ((name, dtype), *others) = wanted.items()
    values: Any = document[forms[0]]
    shape = _shape(values)
    if others or not (dtype.is_floating or dtype.is_integer) or not shape or not _is_regular(body, shape):
        return None
    try:
        numbers = values.as_buffer(of_type="d" if dtype.is_floating else "i")
    except (ValueError, TypeError, RuntimeError):
        return None
    array = as_dtype(np.frombuffer(numbers, np.float64 if dtype.is_floating else np.int64).reshape(shape), dtype)
    return None if array is None else (signature, {name: array}, forms[0] == INSTANCES)


def _shape(values: Any) -> tuple[int, ...]:  # noqa: ANN401 - a value of simdjson's
    """The shape told by the first element at each level; () for what is no list, or has one that is empty."""
    shape: list[int] = []
    while isinstance(values, simdjson.Array):
        if not len(values) or len(shape) == MAX_RANK:
            return ()
        shape.append(len(values))
        values = values[0]
    return tuple(shape)


def _is_regular(body: bytes, shape: tuple[int, ...]) -> bool:
    """Whether the lists in a body are those of an array of that shape, with nothing but numbers in them."""
    if math.prod(shape) > len(body):  # the first lists may promise any size
        return False
    skeleton = b""
    for size in reversed(shape):
        skeleton = b"[" + (skeleton + b",") * (size - 1) + skeleton + b"]"
    around = [body[: body.index(b"[")], body[body.rindex(b"]") + 1 :]]
    return body.translate(None, _OF_NUMBERS) == skeleton.join(part.translate(None, _OF_NUMBERS) for part in around)
