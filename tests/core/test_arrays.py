"""Exact casts between numpy arrays and TensorFlow dtypes."""

from __future__ import annotations

import numpy as np
import pytest

from tfsctl.core import dtypes
from tfsctl.core.arrays import cast_exact, first_changed, object_array


@pytest.mark.parametrize(
    ("values", "dtype", "first"),
    [
        (np.array([1.0, 2.5]), "int32", (1,)),
        (np.array([2.0**63]), "int64", (0,)),
        (np.array([2**63], np.uint64), "int64", (0,)),
        (np.array([0, -1]), "uint64", (1,)),
        (np.array([[1, 300]]), "uint8", (0, 1)),
        (np.array([np.nan]), "int32", (0,)),
        (np.array([7, 8]), "int4", (1,)),
        (np.array([np.inf, 3e38, 1e39]), "float32", (2,)),
        (np.array([[1, 65504], [1, 65520]]), "float16", (1, 1)),
    ],
)
def test_casts_that_change_a_value_are_refused(values: np.ndarray, dtype: str, first: tuple[int, ...]) -> None:
    """Integers must be in the range of the dtype, and finite numbers stay finite; the first changed value is named."""
    assert cast_exact(values, dtypes.BY_NAME[dtype]) is None
    assert first_changed(values, dtypes.BY_NAME[dtype]) == first


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        (np.array([1.0, -2.0]), "int8", [1, -2]),
        (np.array([2**63 - 1]), "int64", [2**63 - 1]),
        (np.array([2**63 - 1]), "uint64", [2**63 - 1]),
        (np.array([0.5]), "complex64", [0.5 + 0j]),
        (np.array([np.inf, -np.inf]), "float32", [np.inf, -np.inf]),
        (np.array(["é"]), "string", ["é".encode()]),
        (object_array([b"\x00", "a"]), "string", [b"\x00", b"a"]),
        (np.array([True]), "bool", [True]),
    ],
)
def test_casts_that_keep_the_values_are_made(values: np.ndarray, dtype: str, expected: list[object]) -> None:
    """Integers stay integers; floating-point dtypes take any number; text becomes UTF-8."""
    found = cast_exact(values, dtypes.BY_NAME[dtype])

    assert found is not None
    assert found.dtype == dtypes.BY_NAME[dtype].numpy
    assert found.tolist() == expected


def test_bfloat16_is_cast() -> None:
    """In a test of its own, because importing ml_dtypes takes 0.4 s."""
    found = cast_exact(np.array([1.5], dtypes.BY_NAME["bfloat16"].numpy), dtypes.DOUBLE)

    assert found is not None
    assert found.dtype == np.float64
    assert found.tolist() == [1.5]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.array([True]), "int32"),
        (np.array([1]), "bool"),
        (np.array(["1"]), "float32"),
        (object_array([1]), "string"),
        (np.array([1j]), "float32"),
    ],
)
def test_casts_between_kinds_are_refused(values: np.ndarray, dtype: str) -> None:
    """Between booleans, numbers and strings, and from complex to real numbers."""
    assert cast_exact(values, dtypes.BY_NAME[dtype]) is None
    assert first_changed(values, dtypes.BY_NAME[dtype]) is None
