"""Arrays that were made elsewhere (a `.npy` file, a decoded image) -> a batch for an input of a signature."""

from __future__ import annotations

import numpy as np

from tfsctl.core import dtypes
from tfsctl.core.arrays import check_shape, object_array
from tfsctl.core.dtypes import DType
from tfsctl.core.types import TensorSpec
from tfsctl.errors import InvalidInput


def fit_array(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """The array as the input wants it: cast where no value changes, with a batch dimension where it is a single row.

    Raises InvalidInput that says where, what was found and what is wanted.
    """
    dtype = dtypes.BY_NAME.get(spec.dtype)
    if dtype is None:
        raise InvalidInput(f"input {spec.name!r} has dtype {spec.dtype}, which no array has")
    cast = _strings(array, spec) if dtype is dtypes.STRING else _numbers(array, dtype, spec)
    if spec.shape and spec.shape[0] is None and cast.ndim == len(spec.shape) - 1:
        cast = cast[np.newaxis]
    check_shape(cast.shape, spec)
    return cast


def _strings(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    if array.dtype.kind == "S":
        return array.astype(object)
    values = array.ravel().tolist()
    if array.dtype.kind not in "UO" or not all(isinstance(value, (str, bytes)) for value in values):
        raise _unfit(array, spec)
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    return object_array(encoded).reshape(array.shape)


def _numbers(array: np.ndarray, dtype: DType, spec: TensorSpec) -> np.ndarray:
    """The numbers in another dtype. Floats may lose digits, as numbers typed do; whole numbers stay what they are."""
    kind = "f" if array.dtype.kind == "V" and array.dtype.names is None else array.dtype.kind  # V: ml_dtypes
    taken = "b" if dtype.name == "bool" else "iufc" if dtype.is_complex else "iuf"
    if kind not in taken:
        raise _unfit(array, spec)
    if not dtype.is_integer or array.dtype == dtype.numpy:
        with np.errstate(over="ignore"):
            return array.astype(dtype.numpy)
    with np.errstate(invalid="ignore"):
        cast = array.astype(dtype.numpy)
    changed = np.argwhere(cast.astype(np.float64) != array if kind == "f" else _differ(cast, array))
    if len(changed):
        at = tuple(changed[0])
        where = "".join(f"[{index}]" for index in at)
        raise InvalidInput(f"{spec.name}{where} is {array[at]}, which {dtype.name} cannot hold")
    return cast


def _differ(cast: np.ndarray, array: np.ndarray) -> np.ndarray:
    """Where whole numbers changed: in their bits, or in their sign where only one of the two has any."""
    return (cast.astype(array.dtype) != array) | ((cast < 0) != (array < 0))


def _unfit(array: np.ndarray, spec: TensorSpec) -> InvalidInput:
    return InvalidInput(f"{spec.name} is {array.dtype} {list(array.shape)}, but the model wants {spec.dtype}")
