"""The fast path for arrays of numbers gives the same arrays as the general reader, with simdjson and without."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfsctl.core import dtypes
from tfsctl.core.dtypes import DType
from tfsctl.server.rest.json import document as json_document
from tfsctl.server.rest.json import numbers
from tfsctl.server.rest.json import tensor as json_tensor
from tfsctl.server.rest.json.bulk_values import narrow
from tfsctl.server.rest.json.numbers import number_inputs, number_row

FLOAT, INT, BYTE = dtypes.BY_NAME["float32"], dtypes.BY_NAME["int32"], dtypes.BY_NAME["uint8"]
DOUBLE = dtypes.BY_NAME["float64"]
NUMBERS = st.one_of(st.integers(-(2**31), 2**31 - 1), st.floats(allow_nan=False, allow_infinity=False))
LISTS = st.recursive(NUMBERS, lambda inner: st.lists(inner, min_size=1, max_size=3), max_leaves=12)
REGULAR = st.lists(st.integers(1, 4), min_size=1, max_size=4).flatmap(
    lambda shape: st.integers(-9, 300).map(lambda start: _counted(start, shape))
)


@pytest.fixture(params=["simdjson", "simdjson in pieces", "orjson in pieces"], autouse=True, scope="module")
def _reader(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run every test with each reader. Pieces have some bytes."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param.startswith("simdjson"):
            pytest.importorskip("simdjson")
        else:
            patch.setattr(numbers, "simdjson", None)
        if request.param.endswith("in pieces"):
            patch.setattr(numbers, "_PIECE_BYTES", 16)
            patch.setattr(numbers, "_MAX_SIMDJSON_BYTES", 0)
        yield


def _counted(start: int, shape: list[int]) -> Any:
    return (np.arange(np.prod(shape)) + start).reshape(shape).tolist()


def read(body: bytes, dtype: DType = FLOAT) -> tuple[str, dict[str, np.ndarray], bool] | None:
    """The result of reading a body for one input `x`."""
    return number_inputs(body, lambda _: {"x": dtype})


@given(
    values=st.one_of(LISTS, REGULAR),
    form=st.sampled_from(["instances", "inputs", "named input"]),
    dtype=st.sampled_from([FLOAT, INT]),
)
def test_the_fast_path_agrees_with_the_general_reader(values: Any, form: str, dtype: DType) -> None:
    """Arrays that it reads are equal to those of the general reader."""
    document = {"inputs": {"x": values}} if form == "named input" else {form: values}
    body = json.dumps(document, indent=1).encode()
    found = read(body, dtype)
    if found is not None:
        signature, inputs, row_form = found
        wanted, wanted_form = json_tensor.inputs_from_document(json_document.parse(body), {"x": dtype}, body)
        assert (signature, row_form) == ("", wanted_form)
        assert inputs["x"].dtype == wanted["x"].dtype
        np.testing.assert_array_equal(inputs["x"], wanted["x"])


@given(values=REGULAR)
def test_the_fast_path_reads_every_regular_array(values: Any) -> None:
    """In its shape, in each form of a body."""
    for body in ({"instances": values}, {"inputs": values}, {"inputs": {"x": values}}):
        found = read(json.dumps(body).encode())
        assert found is not None
        assert found[1]["x"].shape == np.shape(values)
        assert found[2] == ("instances" in body)


@pytest.mark.parametrize(
    "body",
    [
        '{"instances": [[1, 2, 3], [4], [5, 6]]}',
        '{"instances": [[1, 2], [3, 4, 5], [6]]}',  # as many numbers and brackets as a regular one
        '{"instances": [1, [2], 3]}',
        '{"instances": [[[1], 2]]}',
        '{"instances": [1, "2"]}',
        '{"instances": [1, NaN]}',
        '{"instances": [1, true]}',
        '{"instances": [1, null]}',
        '{"instances": []}',
        '{"instances": [[], []]}',
        '{"instances": 1}',
        '{"instances": [1], "instances": [2]}',
        '{"instances": [1], "inputs": [2]}',
        '{"instances": [1], "extra": [2]}',
        '{"instances": [{"x": 1}]}',
        '{"instances": [1]} trailing',
        '{"signature_name": 1, "instances": [1]}',
        '{"signature_name": "[", "instances": [1, 2]}',
        '{"instances": [[1, 2]], "signature_name": "]]"}',
        '{"signature_name": "[1]", "instances": 0}',
        '{"signature_name": "[1]", "inputs": {"x": 0}}',
        '{"inputs": {"y": [1, 2]}}',
        '{"inputs": {"x": [1], "y": [2]}}',
        '{"inputs": {"x": [1], "x": [2]}}',
        '{"inputs": {"x": {"x": [1]}}}',
        '{"instances": {"x": [1, 2]}}',
        '{"instances": [1,, 2]}',
        '{"instances": [1, 2,]}',
        '{"instances": [01, 2]}',
        '{"instances": [1., 2]}',
        '{"instances": [1 2, 3]}',
        '{"instances": [1e999]}',
        '{"instances": 1, "instances": [2]}',
        '{"instances": [1]',
        "[1, 2]",
        "{}",
        "nothing",
    ],
)
def test_other_bodies_are_left_to_the_general_reader(body: str) -> None:
    """Ragged lists, other values and other documents: the general reader has their errors."""
    assert read(body.encode()) is None


def test_sizes_are_checked_before_allocation() -> None:
    """Nested lists of which only the first is long do not allocate the array that they seem to be."""
    nested: Any = [1] * 1000
    for _ in range(6):
        nested = [nested, *[1] * 999]
    assert read(json.dumps({"instances": nested}).encode()) is None


def test_the_fast_path_uses_the_dtypes_of_the_signature() -> None:
    """Integers out of range are left to the general reader."""
    signatures = []

    def dtypes_of(signature: str) -> dict[str, DType]:
        signatures.append(signature)
        return {"x": BYTE}

    found = number_inputs(b'{"signature_name": "s", "inputs": [[0], [255]]}', dtypes_of)
    assert signatures == ["s"]
    assert found is not None
    assert (found[0], found[2], found[1]["x"].dtype.name, found[1]["x"].tolist()) == ("s", False, "uint8", [[0], [255]])
    assert number_inputs(b'{"instances": [3000000000]}', dtypes_of) is None
    assert number_inputs(b'{"instances": [1.5]}', dtypes_of) is None
    assert number_inputs(b'{"instances": [1]}', lambda _: {"x": FLOAT, "y": FLOAT}) is None
    assert number_inputs(b'{"instances": [1]}', lambda _: {"x": dtypes.STRING}) is None


def test_large_bodies_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that reads 2 MB holds the GIL for 6 ms. So other threads may run after each piece."""
    pauses: list[None] = []
    monkeypatch.setattr(numbers, "yield_to_loop", lambda: pauses.append(None))
    monkeypatch.setattr(numbers, "_PIECE_BYTES", 64 * 1024)
    values = np.arange(250_000).reshape(10, 25_000) / 8
    found = read(json.dumps({"instances": values.tolist()}).encode())
    assert found is not None
    np.testing.assert_array_equal(found[1]["x"], values.astype(np.float32))
    assert len(pauses) > 20


@given(
    row=st.lists(st.one_of(NUMBERS, st.integers(-(2**63), 2**64 - 1)), min_size=1, max_size=40),
    separators=st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]),
)
def test_a_row_of_numbers_is_read_as_by_the_general_reader(row: list[float], separators: tuple[str, str]) -> None:
    """With simdjson, to the last bit of a float64. Without it, it is left to other readers."""
    body = json.dumps({"instances": [row]}, separators=separators).encode()
    found = number_row(body)
    if numbers.simdjson is None:
        assert found is None
        return
    assert found is not None
    wanted, _ = json_tensor.inputs_from_document(json_document.parse(body), {"x": DOUBLE}, body)
    assert narrow(np.frombuffer(found), DOUBLE).tobytes() == wanted["x"].tobytes()


@pytest.mark.parametrize(
    "body",
    [
        '{"instances": [[1, 2], [3, 4]]}',
        '{"instances": [[1, 2], 3]}',
        '{"instances": [1, [2, 3]]}',
        '{"instances": [[[1, 2]]]}',
        '{"instances": [ [[1, 2]]]}',
        '{"instances": [1, 2]}',
        '{"instances": [[]]}',
        '{"instances": [["1"]]}',
        '{"instances": [["[["]]}',
        '{"instances": "[["}',
        '{"instances": [[1, "2"]]}',
        '{"instances": [[1, true]]}',
        '{"instances": [[1, null]]}',
        '{"instances": [[1, NaN]]}',
        '{"instances": [[1, {"x": 2}]]}',
        '{"instances": [[1e999]]}',
        '{"instances": [[18446744073709551616]]}',
        '{"instances": [[01]]}',
        '{"instances": [[1,]]}',
        '{"instances": [[1]',
        '{"instances": [[1]]} trailing',
        '{"instances": [[1]], "instances": [[2]]}',
        '{"instances": [[1]], "signature_name": "s"}',
        '{"inputs": [[1]]}',
        '[["instances", 1]]',
        "[[1]]",
        "[[:",
        "",
    ],
)
def test_only_one_row_of_numbers_is_read_at_once(body: str) -> None:
    """Other readers take all other bodies. A row that follows such a body is read."""
    assert number_row(body.encode()) is None
    assert number_row(b'{"instances": [[0.5, -1]]}') in (None, np.array([0.5, -1.0]).tobytes())
