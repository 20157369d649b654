"""Fits an array from elsewhere (a `.npy` file, a decoded image) to an input of a signature."""

from __future__ import annotations

import numpy as np

from tfsctl.core import dtypes
from tfsctl.core.arrays import cast_exact, check_shape, first_changed
from tfsctl.core.types import TensorSpec
from tfsctl.errors import InvalidInput


def fit_array(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """The array in the dtype of the input, with a batch dimension added if it is a single row.

    Raises InvalidInput if a value would change, or the shape is wrong.
    """
    dtype = dtypes.BY_NAME.get(spec.dtype)
    if dtype is None:
        raise InvalidInput(f"input {spec.name!r} has dtype {spec.dtype}, which arrays do not support")
    cast = cast_exact(array, dtype)
    if cast is None:
        at = first_changed(array, dtype)
        if at is None:
            raise InvalidInput(f"{spec.name} is {array.dtype} {list(array.shape)}, but the model wants {spec.dtype}")
        where = "".join(f"[{index}]" for index in at)
        raise InvalidInput(f"{spec.name}{where} is {array[at]}, which {dtype.name} cannot hold")
    if spec.shape and spec.shape[0] is None and cast.ndim == len(spec.shape) - 1:
        cast = cast[np.newaxis]
    check_shape(cast.shape, spec)
    return cast
