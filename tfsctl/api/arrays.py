"""Convert the inputs of `Client.predict` to the arrays that a signature takes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from tfsctl.core import dtypes, json_tensors
from tfsctl.core.arrays import cast_exact, check_shape
from tfsctl.core.types import Signature, TensorSpec
from tfsctl.errors import InvalidInput
from tfsctl.inputs.predict_inputs import check_row_counts, describe_inputs

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    Inputs = Mapping[str, ArrayLike] | ArrayLike


def input_arrays(inputs: Inputs, signature: Signature) -> dict[str, np.ndarray]:
    """Return an array for every input, with its dtype and shape.

    Values may be arrays, numbers, text, or nested lists of them. A value without a name is for the only input. Raises
    InvalidInput for unknown or missing inputs, and for values that cannot be converted without loss.
    """
    if not isinstance(inputs, Mapping):
        if len(signature.inputs) != 1:
            raise InvalidInput(f"name the inputs: {describe_inputs(signature)}")
        inputs = {signature.inputs[0].name: inputs}
    for name in inputs:
        if signature.input(name) is None:
            close = difflib.get_close_matches(name, [spec.name for spec in signature.inputs], n=1)
            meant = f" (did you mean {close[0]!r}?)" if close else ""
            raise InvalidInput(f"there is no input {name!r}{meant}; {describe_inputs(signature)}")
    missing = [spec.name for spec in signature.inputs if spec.name not in inputs]
    if missing:
        raise InvalidInput(f"there is no value for {', '.join(missing)}; {describe_inputs(signature)}")
    arrays = {spec.name: _array(inputs[spec.name], spec) for spec in signature.inputs}
    check_row_counts(arrays, signature)
    return arrays


def _array(value: ArrayLike, spec: TensorSpec) -> np.ndarray:
    dtype = dtypes.BY_NAME.get(spec.dtype)
    if dtype is None:
        raise InvalidInput(f"input {spec.name!r} has dtype {spec.dtype}, which no array has")
    problem: InvalidInput | None = None
    if isinstance(value, (list, tuple, str, bytes, int, float, complex)):
        try:
            return json_tensors.from_json(value, spec)
        except InvalidInput as error:
            problem = error  # the list may hold NumPy values, which the next lines convert
    try:
        given = np.asarray(value)
    except ValueError:
        raise problem or InvalidInput(f"{spec.name} is no array") from None
    array = cast_exact(given, dtype)
    if array is None:
        raise problem or InvalidInput(
            f"{spec.name} is {given.dtype}, and not all of its values are {spec.dtype}, which the model wants"
        )
    check_shape(array.shape, spec)
    return array
