"""REST predict bodies become tensors by TensorFlow Serving's rules."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tfsctl.core import dtypes
from tfsctl.core.json_tensors import to_json
from tfsctl.server.rest.json import bulk_values, checked_values
from tfsctl.server.rest.json import document as json_document
from tfsctl.server.rest.json import tensor as json_tensor
from tfsctl.server.rest.json.binary_values import decode_b64
from tfsctl.server.status import Code, ServingError

REST_DTYPES = ["float32", "float64", "int8", "uint8", "int16", "int32", "uint32", "int64", "uint64", "bool"]


def read(body: bytes, **wanted: str) -> tuple[dict[str, np.ndarray], bool]:
    """The tensors of a body, for inputs given as name=dtype."""
    document = json_document.parse(body)
    return json_tensor.inputs_from_document(document, {k: dtypes.BY_NAME[v] for k, v in wanted.items()}, body)


def _arrays(dtype: str) -> st.SearchStrategy[np.ndarray]:
    options = {"allow_subnormal": False} if dtype.startswith("float") else {}
    elements = hnp.from_dtype(np.dtype(dtype), **options)  # type: ignore[arg-type] # options of float dtypes
    return hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4), elements=elements)


@given(st.data(), st.sampled_from(REST_DTYPES), st.sampled_from(["instances", "inputs", "objects"]))
def test_arrays_round_trip(data: st.DataObject, dtype: str, form: str) -> None:
    """Arrays of every dtype with a JSON form are read back equal, in row form, columnar form and rows of objects."""
    array = data.draw(_arrays(dtype))
    value = to_json(array)
    bodies = {"instances": {"instances": value}, "inputs": {"inputs": {"x": value}}}
    body = json.dumps(bodies.get(form, {"instances": [{"x": row} for row in value]})).encode()
    if b"e-" in body and dtype == "float32":  # a float64 text may round to a denormal, which becomes zero
        return

    tensors, row_form = read(body, x=dtype)

    assert row_form == (form != "inputs")
    assert tensors["x"].dtype == array.dtype
    assert repr(tensors["x"].tolist()) == repr(array.tolist())


@given(st.data(), st.sampled_from(REST_DTYPES))
def test_fast_and_walking_paths_agree(data: st.DataObject, dtype: str) -> None:
    """Conversion by numpy and value by value give the same arrays."""
    value = to_json(data.draw(_arrays(dtype)))
    kind = dtypes.BY_NAME[dtype]
    quick = bulk_values.bulk_array(value, kind, has_literals=False)
    shape = checked_values.shape_of(value)
    careful = checked_values.checked_array(checked_values.checked_values(value, shape, kind), shape, kind)

    assert quick is None or repr(quick.tolist()) == repr(careful.tolist())


@pytest.mark.parametrize(
    ("body", "wanted", "message"),
    [
        ("{}", {"x": "float32"}, "Missing 'inputs' or 'instances' key"),
        ('{"inputs": [1.0, [2.0]]}', {"x": "float32"}, "Encountered list at unexpected level: 1 expected < 1"),
        (
            '{"inputs": [[1.0], [2.0, 3.0]]}',
            {"x": "float32"},
            "Encountered list at unexpected size: 2 at level: 1 expected size: 1",
        ),
        (
            '{"inputs": [[1.0], 2.0]}',
            {"x": "float32"},
            "JSON Value: 2.0 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        ('{"inputs": {"a": [1]}}', {"a": "int8", "b": "int8"}, "Missing named input: b in 'inputs' object."),
        (
            '{"instances": [1]}',
            {"a": "int8", "b": "int8"},
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map",
        ),
        (
            '{"instances": [{"a": 1}]}',
            {"a": "int8", "b": "int8"},
            "Failed to process element: 0 of 'instances' list. JSON object: {\n    \"a\": 1\n} keys must be equal to: "
            "a,b",
        ),
        (
            '{"instances": ["x", {"x": 1}]}',
            {"x": "string"},
            "Expecting value/list but got object at item 1 of input list",
        ),
        ('{"instances": [{"x": "a"}, "b"]}', {"x": "string"}, "Expecting object but got list at item 1 of input list"),
        (
            '{"instances": [1.0]}',
            {"x": "int32"},
            "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: 1.0 Type: Number is "
            "not of expected type: int32",
        ),
        (
            '{"instances": [true, 1.0]}',
            {"x": "float32"},
            "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: true Type: True is "
            "not of expected type: float",
        ),
        (
            '{"inputs": {"x": {"b64": 5}}}',
            {"x": "string"},
            'JSON Value: {\n    "b64": 5\n} not formatted correctly for base64 data',
        ),
        (
            '{"inputs": {"b64": "YQ=="}}',
            {"x": "float16"},
            'JSON Value: {\n    "b64": "YQ=="\n} Type: Object is not of expected type: half',
        ),
        (
            '{"instances": [1], "inputs": [1]}',
            {"x": "int8"},
            'JSON Value: {\n    "instances": [1],\n    "inputs": [1]\n} Not formatted correctly expecting only one of '
            "'inputs' or 'instances' keys to exist ",
        ),
    ],
)
def test_errors_have_the_real_servers_words(body: str, wanted: dict[str, str], message: str) -> None:
    """Those of json_tensor.cc."""
    with pytest.raises(ServingError) as refused:
        read(body.encode(), **wanted)

    assert refused.value.message == message


def test_half_is_unimplemented_in_columnar_form() -> None:
    """float16 has no JSON form in TensorFlow Serving: UNIMPLEMENTED, which row form turns into INVALID_ARGUMENT."""
    with pytest.raises(ServingError) as columnar:
        read(b'{"inputs": [1.5]}', x="float16")
    with pytest.raises(ServingError) as row:
        read(b'{"instances": [1.5]}', x="float16")

    assert (columnar.value.code, row.value.code) == (Code.UNIMPLEMENTED, Code.INVALID_ARGUMENT)


@pytest.mark.parametrize(
    ("body", "dtype", "values"),
    [
        ('{"instances": [256, -1]}', "uint8", [0, 255]),
        ('{"instances": [70000]}', "int8", [112]),
        ('{"instances": [1e39, -1e39]}', "float32", [np.inf, -np.inf]),
        ('{"instances": [5e-324, -0.0]}', "float64", [0.0, -0.0]),
        ('{"instances": [{"b64": "//4="}, {"b64": "YQ"}, {"b64": "Y Q = ="}]}', "string", [b"\xff\xfe", b"a", b"a"]),
    ],
)
def test_unusual_values_are_converted_as_in_the_real_server(body: str, dtype: str, values: list[object]) -> None:
    """int8 and uint8 keep their low bits, floats overflow to Infinity, denormals are zero, base64 needs no padding."""
    tensors, _ = read(body.encode(), x=dtype)

    assert repr(tensors["x"].tolist()) == repr(values)


@pytest.mark.parametrize("text", ["!", "YQ=", "YWJj=", "Y", "YQ==YQ==", "_-8=", "YQ==\u00a0", "é"])
def test_invalid_base64_is_refused(text: str) -> None:
    """Wrong padding, the URL-safe alphabet, and characters that are not digits."""
    with pytest.raises(ServingError, match="Unable to base64 decode"):
        decode_b64(text)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "uint16", "complex64", "bool", "string"])
def test_empty_lists_fit_every_dtype(dtype: str) -> None:
    """Also those without a JSON form."""
    tensors, _ = read(b'{"inputs": [[], []]}', x=dtype)

    assert (tensors["x"].shape, tensors["x"].dtype) == ((2, 0), dtypes.BY_NAME[dtype].numpy)


def test_deep_nesting_is_refused_without_recursion() -> None:
    """Thousands of nested brackets are an error, not a crash; millions are refused quickly."""
    for depth, message in (
        (63, "rank 62 but is rank 63"),
        (5_000, "rank 62 but is rank 5000"),
        (3_000_000, "JSON Parse error: "),
    ):
        with pytest.raises(ServingError) as refused:
            read(b'{"inputs": ' + b"[" * depth + b"1" + b"]" * depth + b"}", x="float32")

        assert message in refused.value.message


@pytest.mark.parametrize("form", ["inputs", "instances"])
@pytest.mark.parametrize("values", ['"a"', "true", "[1]", "null"])
def test_values_that_are_read_one_by_one_are_limited(form: str, values: str) -> None:
    """A million values with an odd one at the end are refused without reading all of them one by one."""
    body = f'{{"{form}": [{"1," * 1_000_000}{values}]}}'.encode()
    with pytest.raises(ServingError, match="More than"):
        read(body, x="float32")


@pytest.mark.parametrize(
    ("body", "dtype", "values"),
    [
        ('{"inputs": [[true, false], [false, true]]}', "bool", [[True, False], [False, True]]),
        ('{"inputs": [["a", "é"], ["", "b"]]}', "string", [[b"a", "é".encode()], [b"", b"b"]]),
        ('{"inputs": [[[], []]]}', "string", [[[], []]]),
        ('{"inputs": [1, 2], "is_odd": true}', "float32", [1.0, 2.0]),
        ('{"inputs": [[1], [2]], "is_odd": false}', "int8", [[1], [2]]),
        ('{"inputs": [9007199791611905]}', "float32", [2.0**53]),  # rounded twice, as RapidJSON's GetFloat does
    ],
)
def test_uniform_lists_are_converted_at_once(body: str, dtype: str, values: list[object]) -> None:
    """Booleans, nested strings, and numbers in a body that has literals."""
    document = json.loads(body)
    quick = bulk_values.bulk_array(document["inputs"], dtypes.BY_NAME[dtype], has_literals=True)

    assert quick is not None
    assert quick.dtype == dtypes.BY_NAME[dtype].numpy
    assert quick.tolist() == values


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.5, 2], [1.5, 2.0]),
        ([[1.5, 2], [2**63, -0.5]], [[1.5, 2.0], [2.0**63, -0.5]]),
        ([[9007199791611905]], [[2.0**53]]),
        ([[[1.0], [2]]], [[[1.0], [2.0]]]),
        ([[1.0], [2.0, 3.0]], None),
        ([[1.0], 2.0], None),
        ([1.0, [2.0]], None),
        ([[1.0, None]], None),
        (["1"], None),
    ],
)
def test_floats_are_packed(values: list[object], expected: list[object] | None) -> None:
    """Small arrays of numbers are packed; nested ones are left to numpy, irregular ones and other values to the walk."""
    quick = bulk_values.bulk_array(values, dtypes.FLOAT, has_literals=False)

    assert (quick if quick is None else quick.tolist()) == expected
