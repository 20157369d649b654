"""Convert one value from Python to the array of an input: a list, an array, a Series, text, bytes or an image."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tfsctl.api import data_frames
from tfsctl.core import dtypes, json_tensors
from tfsctl.core.arrays import cast_exact, check_shape, first_changed, object_array
from tfsctl.core.dtypes import DType
from tfsctl.core.types import TensorSpec
from tfsctl.errors import InvalidInput
from tfsctl.inputs.images import decode_image, image_row, takes_images

_MAX_EXACT_FLOAT = 2**53  # from here on, a float64 cannot tell neighbouring integers apart
_JSON_TYPES = (list, tuple, str, bytes, int, float, complex, dict)


def input_array(value: object, spec: TensorSpec) -> np.ndarray:
    """Return the array of an input. A value that is one row gets a batch dimension.

    Raises InvalidInput if the value cannot be converted without loss, or does not fit the shape of the input.
    """
    return _with_batch_dimension(_converted(value, spec), spec)


def array_of_rows(rows: object, spec: TensorSpec) -> np.ndarray:
    """Return the array of an input from a list with one item per row. A single value may stand for a row of one value.

    Raises InvalidInput as `input_array` does.
    """
    array = _converted(rows, spec)
    if spec.shape == () and array.shape == (1,):
        return array[0, ...]
    if array.ndim == 1 and spec.shape is not None and all(size in (1, None) for size in spec.shape[1:]):
        array = array.reshape((-1, *(1 for _ in spec.shape[1:])))
    check_shape(array.shape, spec)
    return array


def exact_array(value: object, spec: TensorSpec) -> np.ndarray:
    """Return the array of an input in the shape of the value, as TensorFlow Serving reads the body of a REST request.

    Raises InvalidInput as `input_array` does.
    """
    array = _converted(value, spec)
    check_shape(array.shape, spec)
    return array


def _converted(value: object, spec: TensorSpec) -> np.ndarray:
    """Return the value as an array in the dtype of the input, without a check of its shape."""
    dtype = dtypes.BY_NAME.get(spec.dtype)
    if dtype is None:
        raise InvalidInput(f"input {spec.name!r} has dtype {spec.dtype}, which no array has")
    value = _without_pandas(value, spec)
    images = _images(value, spec)
    if images is not None:
        return images
    any_shape = replace(spec, shape=None)
    problem: InvalidInput | None = None
    if isinstance(value, _JSON_TYPES):
        try:
            return json_tensors.from_json(value, any_shape)
        except InvalidInput as error:
            problem = InvalidInput(error.message.replace(" is null,", " is None,"), hint=error.hint)
            # the list may hold NumPy values, which the next lines convert
    if problem is not None and not _has_kind_of(value, dtype):
        raise problem
    given = _as_numpy(value, spec, problem)
    array = cast_exact(given, dtype)
    if array is None:
        raise problem or _not_converted(given, spec, dtype)
    if dtype.is_integer and given.dtype.kind == "f" and (np.abs(given) >= _MAX_EXACT_FLOAT).any():
        raise InvalidInput(
            f"{spec.name} holds floats of 2**53 or more, which may have lost digits, but the model wants {spec.dtype}",
            hint="make them integers where they are read",
        )
    return array


def _without_pandas(value: object, spec: TensorSpec) -> object:
    """Return the values of a DataFrame or Series, bytes of a buffer, or lists of an array of objects; otherwise the value."""
    if value is None:
        raise InvalidInput(f"{spec.name} is None, but the model wants {spec.dtype}")
    if data_frames.is_frame(value):
        value = data_frames.frame_values(value)
    elif data_frames.is_series(value):
        value = data_frames.series_values(value, f"input {spec.name!r}")
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, np.ndarray) and value.dtype == object and value.ndim:
        return value.tolist()
    return value


def _not_converted(given: np.ndarray, spec: TensorSpec, dtype: DType) -> InvalidInput:
    """Return the error for an array with a value that the dtype cannot hold. It names the first, if that is a number."""
    at = first_changed(given, dtype)
    if at is None:
        return InvalidInput(
            f"{spec.name} is {given.dtype}, and some of its values are not {spec.dtype}, which the model expects"
        )
    where = "".join(f"[{index}]" for index in at)
    return InvalidInput(f"{spec.name}{where} is {given[at]}, which {dtype.name} cannot hold")


def _has_kind_of(value: object, dtype: DType) -> bool:
    """Whether all leaves of nested lists are strings, booleans or numbers, as the dtype is. NumPy would convert them."""
    if isinstance(value, (list, tuple)):
        return all(_has_kind_of(item, dtype) for item in value)
    kind = np.asarray(value).dtype.kind
    if dtype is dtypes.STRING:
        return kind in "SUO"
    return kind == "b" if dtype.name == "bool" else kind not in "bSUO"


def _as_numpy(value: object, spec: TensorSpec, problem: InvalidInput | None) -> np.ndarray:
    """Return the value as a NumPy array of any dtype. Raises `problem`, or InvalidInput, if it is not an array."""
    if np.ma.is_masked(value):
        raise InvalidInput(f"{spec.name} has masked values", hint="array.filled(VALUE) fills them")
    try:
        given = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise problem or InvalidInput(f"{spec.name} is not an array: {error}") from error
    if given.dtype == object and not given.ndim:
        raise problem or InvalidInput(
            f"{spec.name} is of type {type(value).__name__}, not a number, text, list or array"
        )
    return given


def _images(value: object, spec: TensorSpec) -> np.ndarray | None:
    """Return the row of an image, or the rows of a list of images; None if the value is something else.

    Images are PIL images, and, for an input of pixels, the bytes of image files.
    """
    if _is_image(value, spec):
        return _image(value, spec)
    if not isinstance(value, (list, tuple)) or not value or not _is_image(value[0], spec):
        return None
    rows = []
    for number, item in enumerate(value, start=1):
        if not _is_image(item, spec):
            raise InvalidInput(f"row {number} of {spec.name} is of type {type(item).__name__}, not an image")
        rows.append(_image(item, spec))
    if spec.dtype == "string":
        return object_array([row.item() for row in rows])
    if len({row.shape for row in rows}) > 1:
        raise InvalidInput(f"the images of {spec.name} have different sizes", hint="image.resize((WIDTH, HEIGHT))")
    return np.stack(rows)


def _is_image(value: object, spec: TensorSpec) -> bool:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return spec.dtype != "string" and takes_images(spec)
    pil = sys.modules.get("PIL.Image")
    return pil is not None and isinstance(value, pil.Image)


def _image(value: object, spec: TensorSpec) -> np.ndarray:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return decode_image(bytes(value), spec)
    return image_row(value, spec)  # type: ignore[arg-type] # a PIL image


def _with_batch_dimension(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """Return the array with a batch dimension added if it is one row. Raises InvalidInput if its shape does not fit."""
    shape = spec.shape
    if shape and array.ndim < len(shape):
        for candidate in _candidate_batches(array, shape):
            if _fits(candidate.shape, shape):
                return candidate
    check_shape(array.shape, spec)
    return array


def _candidate_batches(array: np.ndarray, shape: Sequence[int | None]) -> list[np.ndarray]:
    """Return the batches that an array of fewer dimensions may stand for, the likeliest first."""
    if array.ndim == 0:
        return [array.reshape((1,) * len(shape))]
    if array.ndim == 1 and all(size == 1 for size in shape[1:]):
        return [array.reshape((-1, *(1 for _ in shape[1:])))]  # a column: each item is a row
    return [array[np.newaxis]]


def _fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    return len(shape) == len(wanted) and all(want in (None, have) for have, want in zip(shape, wanted, strict=True))
