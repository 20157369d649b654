"""What is found out about a written model before it is published."""

from __future__ import annotations

import json

import numpy as np
import pytest
from exporting import Export
from hypothesis import given
from hypothesis import strategies as st

from tfsctl.core.batches import NamedArrays
from tfsctl.core.types import TensorSpec
from tfsctl.core.version_files.manifest import MANIFEST_FILE
from tfsctl.errors import InvalidInput
from tfsctl.exporter import samples
from tfsctl.exporter.output_comparison import (
    ROW_TOLERANCE,
    RowIndependence,
    agree,
    check_row_independence,
    largest_difference,
)

ROWS = {"x": np.array([[1.0, 2.0], [3.0, 5.0], [-4.0, 0.5]], np.float32)}


def softmax_over_batch(inputs: NamedArrays) -> dict[str, np.ndarray]:
    """A model whose rows share one sum."""
    weights = np.exp(inputs["x"])
    return {"y": weights / weights.sum(axis=0)}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (lambda inputs: {"y": inputs["x"] * 2}, (True, "")),
        (softmax_over_batch, (False, "a row's answer depends on the other rows")),
        (lambda inputs: {"y": inputs["x"] - inputs["x"][:1]}, (False, "a row's answer depends on the other rows")),
        (lambda inputs: {"y": np.cumsum(inputs["x"], axis=0)}, (False, "a row's answer depends on the other rows")),
        (lambda inputs: {"y": inputs["x"].sum()}, (False, "its output does not have one row per input row")),
        (lambda inputs: {"y": inputs["x"][:1]}, (False, "its output does not have one row per input row")),
        (
            lambda inputs: {"y": np.zeros([len(inputs["x"]), len(inputs["x"])])},
            (False, "the shape of a row's answer depends on the other rows"),
        ),
        (
            lambda inputs: {"y": np.random.default_rng().normal(size=inputs["x"].shape)},
            (None, "it answers the same rows differently each time"),
        ),
    ],
    ids=["independent", "softmax", "first-row", "cumulative", "scalar", "one-row", "padding", "random"],
)  # fmt: skip
def test_dependent_rows_are_detected_by_running_the_model(model: object, expected: tuple[bool | None, str]) -> None:
    """A random model gets no verdict."""
    found = check_row_independence(model, ROWS)  # type: ignore[arg-type]
    assert (found.verdict, found.reason) == expected


def test_model_that_fails_on_fewer_rows_has_dependent_rows() -> None:
    """It needs the other rows."""

    def at_least_two(inputs: NamedArrays) -> dict[str, np.ndarray]:
        if len(inputs["x"]) < 2:
            raise ValueError("too few")
        return {"y": inputs["x"]}

    assert check_row_independence(at_least_two, ROWS) == RowIndependence(
        False, "it fails on a subset of the rows: ValueError: too few", permuted=True, together=True, alone=False
    )


@pytest.mark.parametrize("rows", [ROWS["x"][:1], np.repeat(ROWS["x"][:1], 3, axis=0)])
def test_equal_rows_cannot_show_independence(rows: np.ndarray) -> None:
    """One row, or the same row several times, cannot show independence."""
    assert check_row_independence(softmax_over_batch, {"x": rows}) == RowIndependence(
        None, "the test needs two different sample rows"
    )


def test_rounding_differences_between_batch_sizes_do_not_count_as_dependence() -> None:
    """A matrix product rounds differently for other batch sizes."""
    weights = np.random.default_rng(1).normal(size=(2000, 3)).astype(np.float32)
    rows = np.random.default_rng(2).normal(size=(7, 2000)).astype(np.float32)

    def product(inputs: NamedArrays) -> dict[str, np.ndarray]:
        order = slice(None, None, -1 if len(inputs["x"]) % 2 else 1)  # another order of summing, another rounding
        return {"y": np.cumsum(inputs["x"][:, order, None] * weights[order], axis=1, dtype=np.float32)[:, -1]}

    alone, together = product({"x": rows[:1]}), product({"x": rows[:2]})
    assert largest_difference(alone, {"y": together["y"][:1]}) > 0
    assert check_row_independence(product, {"x": rows}) == RowIndependence(True, "", True, True, True)


@pytest.mark.parametrize(
    ("dtype", "one", "other", "same"),
    [
        ("float32", [1.0], [1.000001], True),
        ("float32", [1.0], [1.0001], False),
        ("float32", [[1e-9, 1e6]], [[2e-9, 1e6]], False),
        ("float32", [1e-9, 1e6], [2e-9, 1e6], True),
        ("float16", [1.0], [1.01], True),
        ("float32", [np.nan, np.inf], [np.nan, np.inf], True),
        ("float32", [np.nan], [1.0], False),
        ("float32", [np.inf], [-np.inf], False),
        ("complex64", [1 + 1j], [1 + 1j], True),
        ("complex64", [1 + 1j], [1 - 1j], False),
        ("int32", [1000000], [1000001], False),
        ("object", [b"a"], [b"b"], False),
        ("float32", [1.0, 2.0], [[1.0, 2.0]], False),
        ("float32", [], [], True),
    ],
)
def test_outputs_agree_if_floats_differ_by_rounding_only(
    dtype: str, one: list[object], other: list[object], same: bool
) -> None:
    """Rounding is relative to the largest value in the same place of any row; all other dtypes must be equal."""
    assert agree({"y": np.array(one, dtype)}, {"y": np.array(other, dtype)}, tolerance=ROW_TOLERANCE) is same


def test_largest_difference_is_absolute_or_infinite() -> None:
    """Differences are absolute; other outputs or shapes are infinitely different."""
    one = {"y": np.array([1.0, 2.0]), "s": np.array([b"a"], object)}
    assert largest_difference(one, one) == 0
    assert largest_difference(one, {**one, "y": np.array([1, 2.5])}) == 0.5
    assert largest_difference(one, {**one, "s": np.array([b"b"], object)}) == 1
    assert largest_difference(one, {"y": one["y"]}) == float("inf")
    assert largest_difference(one, {**one, "y": np.array([1.0])}) == float("inf")


SPECS = (TensorSpec("area", "float32", (None,)), TensorSpec("city", "string", (None,)))


@pytest.mark.parametrize(
    "value",
    [
        [{"area": 50, "city": "Paris"}, {"area": 40.5, "city": b"Lyon\0"}],
        {"area": [50, 40.5], "city": ["Paris", b"Lyon\0"]},
        {"area": np.array([50, 40.5]), "city": np.array(["Paris", b"Lyon\0"], object)},
    ],
    ids=["rows", "columns", "arrays"],
)
def test_samples_are_read_as_rows_or_columns(value: object) -> None:
    """Strings keep every byte."""
    fitted = samples.parse_samples(value).fit(SPECS)
    assert fitted["area"].dtype == np.float32
    assert fitted["area"].tolist() == [50, 40.5]
    assert fitted["city"].tolist() == [b"Paris", b"Lyon\0"]


def test_samples_of_a_single_input_need_no_name() -> None:
    """A list of plain rows is for the one input there is."""
    assert samples.parse_samples([[1, 2], [3, 4]]).fit([TensorSpec("x", "int64", (None, 2))])["x"].tolist() == [
        [1, 2],
        [3, 4],
    ]


def test_no_more_than_32_samples_are_used() -> None:
    """A training set called `samples` does not make an export slow."""
    assert len(samples.parse_samples(np.zeros((100_000, 2))).fit([TensorSpec("x", "float32", (None, 2))])["x"]) == 32


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (1000, "int is neither a list of rows nor a dict of columns"),
        ([], "list is neither a list of rows nor a dict of columns"),
        ("text", "str is neither a list of rows nor a dict of columns"),
        ([{"a": 1}, {"b": 2}], "their rows do not all have the same inputs"),
        ([{"a": 1}, 3], "their rows do not all have the same inputs"),
        ({"a": [1, 2], "b": [1]}, "their columns are empty or have different lengths"),
        ({}, "their columns are empty or have different lengths"),
        ({"a": []}, "their columns are empty or have different lengths"),
        ([[1, 2], [3]], "they cannot be converted to arrays"),
        ([None, "a"], "their rows differ in type or shape"),
    ],
)
def test_invalid_samples_are_reported_with_the_reason(value: object, reason: str) -> None:
    """A variable `samples` may have another meaning in the user's file."""
    with pytest.raises(InvalidInput, match=reason):
        samples.parse_samples(value)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([1.0, 2.0], "they have rows without input names, but the model takes area, city"),
        ({"area": [1.0], "town": ["x"]}, "they have area, town, but the model takes area, city"),
        (
            {"area": [[1.0]], "city": ["x"]},
            r"area is float32 \[1, 1\] there, the model takes float32 \[batch\]",
        ),
        ({"area": ["x"], "city": ["x"]}, r"area is string \[1\] there, the model takes float32 \[batch\]"),
        ({"area": [1.0], "city": [1.0]}, r"city is float32 \[1\] there, the model takes string \[batch\]"),
    ],
)
def test_samples_that_do_not_fit_the_signature_are_reported(value: object, reason: str) -> None:
    """The message has what the samples are and what the model takes."""
    with pytest.raises(InvalidInput, match=reason):
        samples.parse_samples(value).fit(SPECS)


DIMS = st.none() | st.integers(0, 4)
SHAPES = st.none() | st.lists(DIMS, max_size=4).map(tuple)


@given(st.sampled_from(["float32", "int8", "string", "bool", "bfloat16", "complex64"]), SHAPES)
def test_synthetic_inputs_fit_the_signature(dtype: str, shape: tuple[int | None, ...] | None) -> None:
    """Synthetic inputs have the dtype and a shape that the signature allows, two rows where it leaves the batch free."""
    made = samples.synthetic_inputs([TensorSpec("x", dtype, shape)], rows=2, free=8)["x"]
    if shape is None:
        assert made.shape == (2,)
        return
    assert made.ndim == len(shape)
    assert all(wanted in (None, found) for wanted, found in zip(shape, made.shape, strict=True))
    if shape and shape[0] is None:
        assert made.shape == (2, *(8 if dim is None else dim for dim in shape[1:]))


def test_no_synthetic_inputs_for_dtypes_without_values() -> None:
    """The error names the dtype."""
    with pytest.raises(InvalidInput, match="cannot generate values for x of dtype dtype_20"):
        samples.synthetic_inputs([TensorSpec("x", "dtype_20", (None,))], rows=2, free=1)


CHECKED = """
    import keras
    x = keras.Input((2,), name="x")
"""


def test_samples_are_run_and_show_independent_rows(export: Export) -> None:
    """With `samples` the model is checked on them, and found to keep its rows apart."""
    code = CHECKED + "    model, samples = keras.Model(x, keras.layers.Dense(1)(x)), [[1., 2.], [3., 4.], [5., 7.]]\n"
    document = export(code, "--json").document
    check = document["checks"]["serving_default"]
    assert (check["ran"], check["inputs"], check["rows"], check["notes"]) == (True, "samples", 3, [])
    assert check["max_difference"] < 1e-5
    assert document["row_independent"] == {"serving_default": True}


def test_synthetic_rows_show_independence_if_every_operation_treats_rows_alone(export: Export) -> None:
    """Otherwise, only real samples can."""
    document = export(CHECKED + "    model = keras.Model(x, keras.layers.Dense(1)(x))\n", "--json").document
    check = document["checks"]["serving_default"]
    assert (check["ran"], check["inputs"], check["rows"]) == (True, "synthetic", 3)
    assert document["row_independent"] == {"serving_default": True}


def test_softmax_over_the_batch_is_reported_as_dependent_rows(export: Export) -> None:
    """A softmax over the batch is detected, and noted."""
    layer = 'keras.layers.Lambda(lambda t: keras.ops.softmax(t, axis=0), output_shape=(2,), name="share")'
    result = export(CHECKED + f"    model, samples = keras.Model(x, {layer}(x)), [[1., 2.], [3., 4.]]\n", "--json")
    assert result.document["row_independent"] == {"serving_default": False}
    assert result.document["notes"] == [
        "signature serving_default: rows may not be merged into batches: a row's answer depends on the other rows"
    ]


def test_random_model_is_published_with_a_note(export: Export) -> None:
    """The note says what could not be verified."""
    code = """
        import keras
        import tensorflow as tf
        class Noise(keras.layers.Layer):
            def call(self, x): return x + tf.random.normal((2,))
        x = keras.Input((2,), name="x")
        model, samples = keras.Model(x, Noise()(x)), [[1., 2.], [3., 4.]]
    """
    document = export(code, "--json").document
    assert document["row_independent"] == {"serving_default": None}
    assert document["checks"]["serving_default"]["max_difference"] is None
    assert "not compared" in document["notes"][0]


def test_export_whose_outputs_differ_from_the_model_is_not_published(export: Export) -> None:
    """Python code that runs only while the function is traced makes a different model."""
    code = """
        import keras
        import tensorflow as tf
        class Traced(keras.layers.Layer):
            def call(self, x): return x * (1.0 if tf.executing_eagerly() else 3.0)
        x = keras.Input((2,), name="x")
        model, samples = keras.Model(x, Traced()(x)), [[1., 2.], [3., 4.]]
    """
    result = export(code)
    assert result.code == 1
    assert result.last_words[0] == (
        "error: signature serving_default gives other predictions than the model itself: they differ by up to 8"
    )
    assert not (export.folder / "net").exists()


def test_unusable_samples_are_replaced_by_synthetic_rows(export: Export) -> None:
    """With a note."""
    document = export(
        CHECKED + "    model, samples = keras.Model(x, keras.layers.Dense(1)(x)), [1., 2.]\n", "--json"
    ).document
    assert document["checks"]["serving_default"]["inputs"] == "synthetic"
    assert document["notes"] == [
        "signature serving_default: `samples` was not used: x is float32 [2] there, the model takes float32 [batch, 2]"
    ]


def test_larger_sizes_of_a_free_dimension_are_tried_if_one_fails(export: Export) -> None:
    """A convolution over a free dimension fails on length 1."""
    code = """
        import keras
        wave = keras.Input((None, 3), name="wave")
        model = keras.Model(wave, keras.layers.GlobalMaxPool1D()(keras.layers.Conv1D(4, 5)(wave)))
    """
    check = export(code, "--json").document["checks"]["serving_default"]
    assert (check["ran"], check["notes"]) == (True, [])


def test_signature_that_fails_on_synthetic_rows_is_reported_as_not_run(export: Export) -> None:
    """It does not count as verified."""
    code = """
        import tensorflow as tf
        class Picky(tf.Module):
            @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
            def __call__(self, serialized):
                return tf.map_fn(lambda one: tf.io.parse_tensor(one, tf.float32)[0], serialized, fn_output_signature=tf.float32)
        model = Picky()
    """
    result = export(code, "--json")
    check = result.document["checks"]["serving_default"]
    assert (check["ran"], check["inputs"], check["rows"]) == (False, "none", 0)
    assert "not run on synthetic rows: InvalidArgumentError" in check["notes"][0]


def test_signature_of_examples_is_run_on_an_example(export: Export) -> None:
    """Signatures that parse tf.Example records are run on one with a value for every feature they must have."""
    code = """
        import tensorflow as tf
        FEATURES = {
            "x": tf.io.FixedLenFeature([2], tf.float32), "n": tf.io.FixedLenFeature([], tf.int64),
            "s": tf.io.FixedLenFeature([1], tf.string), "many": tf.io.VarLenFeature(tf.float32),
        }
        class Parser(tf.Module):
            @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
            def __call__(self, inputs):
                return {"outputs": tf.reduce_sum(tf.io.parse_example(inputs, FEATURES)["x"], axis=1)}
        model = Parser()
    """
    exported = export(code, "--json")
    check = exported.document["checks"]["serving_default"]
    assert (check["ran"], check["inputs"], check["rows"], check["max_difference"]) == (True, "synthetic", 3, 0.0)
    manifest = json.loads((exported.path / MANIFEST_FILE).read_text())
    assert manifest["signatures"]["serving_default"]["features"] == {
        "x": {"kind": "dense", "dtype": "float32", "shape": [2], "required": True},
        "n": {"kind": "dense", "dtype": "int64", "shape": [], "required": True},
        "s": {"kind": "dense", "dtype": "string", "shape": [1], "required": True},
        "many": {"kind": "sparse", "dtype": "float32", "shape": [], "required": False},
    }
