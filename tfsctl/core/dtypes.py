"""The TensorFlow dtypes: number, names, numpy dtype, and the TensorProto field of their values.

Numbers and field rules: tensorflow/core/framework/types.proto and tensor.proto.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class DType:
    """One dtype.

    - `name`: in Python (`float32`). `c_name`: in messages of the C++ code (`float`).
    - `field`: the repeated TensorProto field of its values.
    - `numpy_name`: in numpy, or in ml_dtypes (those of `_BITS`).
    """

    number: int
    enum_name: str
    name: str
    c_name: str
    field: str
    numpy_name: str

    @property
    def numpy(self) -> np.dtype:
        """The numpy dtype. Strings are objects (bytes). ml_dtypes is imported for bfloat16, 8-bit floats and 4-bit integers.

        After `use_bits`, these have a dtype with one field instead.
        """
        return _numpy_dtype(self.numpy_name)

    @property
    def is_integer(self) -> bool:
        """Whether values are integers; bool is not."""
        return self.name.startswith(("int", "uint"))

    @property
    def is_floating(self) -> bool:
        """Whether values are real floating-point numbers."""
        return "float" in self.name

    @property
    def is_complex(self) -> bool:
        """Whether values are complex numbers."""
        return self.name.startswith("complex")

    @property
    def has_json_form(self) -> bool:
        """Whether TensorFlow Serving's REST API carries values (tensorflow_serving/util/json_tensor.cc)."""
        return self.name in _JSON_DTYPES


_JSON_DTYPES = {
    *("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool", "string"),
}


# The dtypes of ml_dtypes, and the NumPy dtype of their bits. A 4-bit integer is the lower half of a byte.
_BITS = {"bfloat16": "u2", "float8_e5m2": "u1", "float8_e4m3fn": "u1", "int4": "u1", "uint4": "u1"}


class _MlDtypes:
    """Whether this process uses ml_dtypes."""

    is_used = True


def use_bits() -> None:
    """Never import ml_dtypes in this process: values of its dtypes are only copied, as bits in a field with its name.

    For servers. Importing ml_dtypes 0.7.0 holds Python's lock for 0.4 s, in which no other client is served.
    """
    _MlDtypes.is_used = False
    _numpy_dtype.cache_clear()


@lru_cache(maxsize=None)
def _numpy_dtype(name: str) -> np.dtype:
    import numpy as np

    if name not in _BITS:
        return np.dtype(name)
    if not _MlDtypes.is_used:
        return np.dtype([(name, _BITS[name])])
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, name))


DTYPES = (
    DType(1, "DT_FLOAT", "float32", "float", "float_val", "float32"),
    DType(2, "DT_DOUBLE", "float64", "double", "double_val", "float64"),
    DType(3, "DT_INT32", "int32", "int32", "int_val", "int32"),
    DType(4, "DT_UINT8", "uint8", "uint8", "int_val", "uint8"),
    DType(5, "DT_INT16", "int16", "int16", "int_val", "int16"),
    DType(6, "DT_INT8", "int8", "int8", "int_val", "int8"),
    DType(7, "DT_STRING", "string", "string", "string_val", "object"),
    DType(8, "DT_COMPLEX64", "complex64", "complex64", "scomplex_val", "complex64"),
    DType(9, "DT_INT64", "int64", "int64", "int64_val", "int64"),
    DType(10, "DT_BOOL", "bool", "bool", "bool_val", "bool"),
    DType(14, "DT_BFLOAT16", "bfloat16", "bfloat16", "half_val", "bfloat16"),
    DType(17, "DT_UINT16", "uint16", "uint16", "int_val", "uint16"),
    DType(18, "DT_COMPLEX128", "complex128", "complex128", "dcomplex_val", "complex128"),
    DType(19, "DT_HALF", "float16", "half", "half_val", "float16"),
    DType(22, "DT_UINT32", "uint32", "uint32", "uint32_val", "uint32"),
    DType(23, "DT_UINT64", "uint64", "uint64", "uint64_val", "uint64"),
    DType(24, "DT_FLOAT8_E5M2", "float8_e5m2", "float8_e5m2", "float8_val", "float8_e5m2"),
    DType(25, "DT_FLOAT8_E4M3FN", "float8_e4m3fn", "float8_e4m3fn", "float8_val", "float8_e4m3fn"),
    DType(29, "DT_INT4", "int4", "int4", "int_val", "int4"),
    DType(30, "DT_UINT4", "uint4", "uint4", "int_val", "uint4"),
)
# Types that no NumPy array has: they can be in a graph, but not in a request or an answer.
_WITHOUT_ARRAYS = {11: "qint8", 12: "quint8", 13: "qint32", 15: "qint16", 16: "quint16", 20: "resource", 21: "variant"}
_REF_OFFSET = 100  # DT_FLOAT_REF = 101 is a reference to DT_FLOAT = 1
BY_NUMBER = {dtype.number: dtype for dtype in DTYPES}
BY_NAME = {dtype.name: dtype for dtype in DTYPES}
BY_ENUM_NAME = {dtype.enum_name: dtype for dtype in DTYPES}
FLOAT, DOUBLE, STRING = BY_NAME["float32"], BY_NAME["float64"], BY_NAME["string"]
INT32, INT64, BOOL, UINT8 = BY_NAME["int32"], BY_NAME["int64"], BY_NAME["bool"], BY_NAME["uint8"]
RESOURCE_NUMBER, VARIANT_NUMBER = 20, 21  # of handles, which have no values in an array


@lru_cache(maxsize=None)
def from_numpy(dtype: np.dtype) -> DType:
    """The TensorFlow dtype for a numpy dtype. Raises KeyError if there is none."""
    if dtype.kind in "SUO":
        return STRING
    return BY_NAME[dtype.names[0] if dtype.names else dtype.name]


def name_of(number: int) -> str:
    """The name of a DataType number; `dtype_<number>` if it is unknown.

    The type of a TF1 reference variable (`DT_FLOAT_REF`) has the name of its values' type.
    """
    value = number - _REF_OFFSET if number > _REF_OFFSET else number
    known = BY_NUMBER.get(value)
    return known.name if known else _WITHOUT_ARRAYS.get(value, f"dtype_{number}")


def name_of_enum(enum_name: str) -> str:
    """The name of a DataType by its enum name (`DT_FLOAT`, `DT_FLOAT_REF`); `dtype` in lower case if it is unknown."""
    known = BY_ENUM_NAME.get(enum_name.removesuffix("_REF"))
    return known.name if known else enum_name.removeprefix("DT_").lower()
