"""The fast and the general conversion to JSON give the same values."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tfsctl.clients.json_bodies import parsed_object, predict_body
from tfsctl.core.arrays import object_array
from tfsctl.core.json_tensors import to_json


@pytest.mark.parametrize(
    "array",
    [
        np.array([0.1, 1e-7, 3.4e38], np.float32),
        np.array([[0.1], [2.0]]),
        np.array([0.1, -2], np.float16),
        np.array([2**64 - 1], np.uint64),
        np.array([True, False]),
        np.array(3, np.int8),
        np.arange(6)[::2],
        np.arange(6).reshape(2, 3).T,
        np.array([1.0, 2.0], ">f4"),
        np.zeros((0, 3)),
        object_array([b"a", "ü\n".encode(), b"\xff", b""]),
        np.array([np.nan, np.inf, 1], np.float32),
        np.array([1 + 2j], np.complex64),
    ],
)
def test_bodies_hold_the_values(array: np.ndarray) -> None:
    """Whatever the array: read back into its dtype, every value is the same."""
    document = json.loads(predict_body("s", {"x": array}))

    assert document["signature_name"] == "s"
    if array.dtype.kind in "iufb":
        found = np.array(document["inputs"]["x"], array.dtype).reshape(array.shape)
        assert np.array_equal(found, array, equal_nan=array.dtype.kind == "f")
    else:
        assert document["inputs"]["x"] == to_json(array)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b'{"outputs": [0.5]}', {"outputs": [0.5]}),
        (b'{"outputs": [NaN]}', None),
        (b'{"outputs": "\xff"}', {"outputs": "\udcff"}),
        (b"[1]", None),
        (b"<html>", None),
    ],
)
def test_only_an_object_is_an_answer(content: bytes, wanted: object) -> None:
    """NaN and bytes that are not UTF-8 are read; anything but a JSON object is refused."""
    found = parsed_object(content)

    if b"NaN" in content:
        assert found is not None
        assert np.isnan(found["outputs"][0])
    else:
        assert found == wanted
