"""JSON values <-> numpy arrays, as the command line, data files and the REST client use them.

Errors name the place (`text[1][0]`), what was found and what the model takes. Strings are bytes in object arrays; in
JSON, bytes that are not UTF-8 are `{"b64": …}`, as in TensorFlow Serving's REST API. The embedded server has its own
parser for request bodies (`tfsctl/server/rest/json/tensor.py`), which answers in TensorFlow Serving's words.
"""

from __future__ import annotations

import base64
import math
from itertools import chain

import numpy as np

from tfsctl.core import dtypes
from tfsctl.core.arrays import became_infinite, cast_exact, check_shape, object_array
from tfsctl.core.dtypes import DType
from tfsctl.core.json_strings import decode_b64, encode_text, is_b64
from tfsctl.core.types import Json, TensorSpec
from tfsctl.errors import InvalidInput

_MAX_DEPTH = 32  # the most dimensions of an array in NumPy 1; no model has tensors with as many
_MAX_EXACT_FLOAT = 2**53  # from here on, a float64 cannot tell neighbouring integers apart


def to_json(array: np.ndarray, *, b64: bool = False) -> Json:
    """Nested lists of the values of an array; a bare value for rank 0.

    Strings that are not UTF-8, and all strings if `b64`, become `{"b64": …}`. A complex number is `[real, imaginary]`.
    """
    if array.dtype.kind in "SUO":
        values = [_string_to_json(value, b64=b64) for value in array.ravel().tolist()]
        return object_array(values).reshape(array.shape).tolist()
    if array.dtype.kind == "c":
        return np.stack([array.real, array.imag], axis=-1).tolist()
    if array.dtype.kind == "V":  # ml_dtypes: bfloat16, 8-bit floats, 4-bit integers
        return array.astype(np.float64 if dtypes.from_numpy(array.dtype).is_floating else np.int32).tolist()
    return array.tolist()


def _string_to_json(value: object, *, b64: bool) -> object:
    content = value if isinstance(value, bytes) else str(value).encode()
    if not b64:
        try:
            return content.decode()
        except UnicodeDecodeError:
            pass
    return {"b64": base64.b64encode(content).decode()}


def from_json(value: object, spec: TensorSpec, *, is_answer: bool = False) -> np.ndarray:
    """The array for one input of a signature, from nested JSON lists of numbers, strings or `{"b64": …}`.

    `is_answer`: the value is a server's output. Its strings may hold surrogate escapes, for bytes that are not UTF-8.

    Raises InvalidInput if a value does not fit the dtype, lists have different lengths, or the shape is wrong.
    """
    dtype = dtypes.BY_NAME.get(spec.dtype)
    if dtype is None or dtype.name in ("resource", "variant"):
        raise InvalidInput(f"input {spec.name!r} has dtype {spec.dtype}, which cannot be written as JSON")
    array = _numbers_at_once(value, dtype)
    if array is not None and not is_answer and _has_boolean(value, array):
        array = None  # numpy converts booleans among numbers; reading value by value names its place
    if array is None:
        array = _ValueReader(spec, dtype, is_answer=is_answer).array(value)
    check_shape(array.shape, spec)
    return array


def _numbers_at_once(value: object, dtype: DType) -> np.ndarray | None:
    """The array of nested lists of numbers, converted by numpy; None if they have to be read value by value."""
    if dtype is dtypes.STRING or dtype.is_complex or dtype.name == "bool" or not isinstance(value, list):
        return None
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):
        return None
    # numpy turns large integers among floats into floats, so floats are no proof of what was written as an integer.
    if array.size == 0 or array.dtype.kind not in ("iuf" if dtype.is_floating else "iu"):
        return None
    return cast_exact(array, dtype)


def _has_boolean(value: object, converted: np.ndarray) -> bool:
    """Whether a leaf of nested lists, which numpy converted to an array of numbers, is a boolean."""
    if not ((converted == 0) | (converted == 1)).any():
        return False
    leaves = value
    while isinstance(leaves, list) and leaves and isinstance(leaves[0], (list, tuple)):
        leaves = list(chain.from_iterable(leaves))
    return isinstance(leaves, list) and not {bool, np.bool_}.isdisjoint(map(type, leaves))


class _ValueReader:
    """Reads nested lists value by value. The first list at each depth sets the length of the others."""

    def __init__(self, spec: TensorSpec, dtype: DType, *, is_answer: bool) -> None:
        self._spec = spec
        self._is_answer = is_answer
        self._dtype = dtype
        self._shape: list[int] = []
        self._leaves: list[object] = []

    def array(self, value: object) -> np.ndarray:
        """The array of a whole value. Raises InvalidInput that names the place."""
        self._read(value, "", 0)
        if self._dtype is dtypes.STRING:
            return object_array(self._leaves).reshape(self._shape)
        with np.errstate(over="ignore"):
            array = np.array(self._leaves, dtype=self._dtype.numpy).reshape(self._shape)
        if not self._is_answer and not self._dtype.is_integer and self._dtype.name != "bool":
            wide = np.array(self._leaves, dtype=np.complex128 if self._dtype.is_complex else np.float64)
            wide = wide.reshape(self._shape)
            self._refuse_infinite(array, wide)
        return array

    def _refuse_infinite(self, array: np.ndarray, wide: np.ndarray) -> None:
        """Raise InvalidInput if a number of `wide`, the same values in 64 bits a number, became infinite in `array`."""
        too_large = np.argwhere(became_infinite(wide, array))
        if len(too_large):
            at = tuple(too_large[0].tolist())
            where = "".join(f"[{index}]" for index in at)
            raise InvalidInput(f"{self._spec.name}{where} is {wide[at]:g}, which is too large for {self._dtype.name}")

    def _read(self, value: object, at: str, depth: int) -> None:
        """Add the values below `value`, which is at `at` (`[1][0]`), and check the lengths of its lists."""
        name, shape = self._spec.name, self._shape
        if isinstance(value, (list, tuple)) and not (self._dtype.is_complex and _is_complex_pair(value)):
            if depth == _MAX_DEPTH:
                raise InvalidInput(f"{name} has lists nested deeper than {_MAX_DEPTH} levels")
            if depth == len(shape):
                if self._leaves:
                    raise InvalidInput(f"{name}{at} is a list where a single {self._dtype.name} was found before")
                shape.append(len(value))
            elif shape[depth] != len(value):
                raise InvalidInput(f"{name}{at} has {len(value)} values where the first such list has {shape[depth]}")
            for index, item in enumerate(value):
                self._read(item, f"{at}[{index}]", depth + 1)
            return
        if depth != len(shape):
            raise InvalidInput(f"{name}{at} is a single value where a list was found before")
        self._leaves.append(self._leaf(value, f"{name}{at}"))

    def _leaf(self, value: object, where: str) -> object:
        """One JSON value as the Python value that numpy takes for the dtype."""
        dtype = self._dtype
        if dtype is dtypes.STRING:
            if isinstance(value, bytes):
                return value
            if isinstance(value, str):
                return value.encode("utf-8", "surrogateescape") if self._is_answer else encode_text(value, where)
            if isinstance(value, dict) and is_b64(value):
                return decode_b64(value["b64"], where)
        elif dtype.name == "bool":
            if isinstance(value, bool):
                return value
        elif dtype.is_complex and isinstance(value, complex):
            return value
        elif dtype.is_complex and isinstance(value, (list, tuple)):
            if _is_complex_pair(value):
                return complex(_real(value[0], dtype, where), _real(value[1], dtype, where))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            return _integer(value, dtype, where) if dtype.is_integer else _real(value, dtype, where)
        raise InvalidInput(f"{where} is {_describe(value)}, but the model wants {dtype.name}")


def _is_complex_pair(value: list[object] | tuple[object, ...]) -> bool:
    return len(value) == 2 and all(isinstance(part, (int, float)) and not isinstance(part, bool) for part in value)


def _real(value: float, dtype: DType, where: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise InvalidInput(f"{where} is too large for {dtype.name}") from None


def _integer(value: float, dtype: DType, where: str) -> int:
    if not math.isfinite(value) or value != int(value):
        raise InvalidInput(f"{where} is {value}, but the model wants {dtype.name}: a whole number")
    if isinstance(value, float) and abs(value) >= _MAX_EXACT_FLOAT:
        raise InvalidInput(f"{where} is written as a float, which may lose digits: write it without a decimal point")
    bits = int("".join(c for c in dtype.name if c.isdigit()))
    low, high = (0, 2**bits - 1) if dtype.name.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if not low <= value <= high:
        raise InvalidInput(f"{where} is {int(value)}, but {dtype.name} goes from {low} to {high}")
    return int(value)


def _describe(value: object) -> str:
    names = {dict: "an object", list: "a list", bool: "a boolean", type(None): "null", str: "text", bytes: "bytes"}
    name = names.get(type(value), "a number")
    return name if isinstance(value, (dict, list)) or value is None else f"{name} ({str(value)[:40]!r})"
