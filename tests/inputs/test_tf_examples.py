"""tf.Examples built from features, with the types that a signature parses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from locations import RECORDED

from tfsctl.core import protos
from tfsctl.core.graphs.feature_specs import FeatureSpec
from tfsctl.core.inference import Examples
from tfsctl.core.types import Signature, TensorSpec
from tfsctl.errors import InvalidInput
from tfsctl.inputs import tf_examples
from tfsctl.inputs.features import read_examples

HALF_PLUS_TWO = RECORDED / "models" / "half_plus_two" / "00000123"
FEATURES = {
    "miles": FeatureSpec("dense", "float32", (), required=True),
    "hour": FeatureSpec("dense", "int64", ()),
    "zip": FeatureSpec("dense", "string", ()),
    "point": FeatureSpec("dense", "float32", (2,)),
    "tags": FeatureSpec("sparse", "string"),
}


def signature(
    name: str = "examples", dtype: str = "string", shape: tuple[int | None, ...] | None = (None,)
) -> Signature:
    """A signature with one input."""
    return Signature("s", (TensorSpec(name, dtype, shape),), ())


def features_of(record: bytes) -> dict[str, list[object]]:
    """The values of a serialized tf.Example."""
    found = protos.Example.FromString(record).features.feature
    return {name: list(getattr(one, one.WhichOneof("kind")).value) for name, one in found.items()}


def test_features_of_a_graph() -> None:
    """Names, dtypes and sizes; a feature with a default is optional. Other signatures have none."""
    found = tf_examples.features_in(HALF_PLUS_TWO, signature_of("predict_examples"))
    assert found == {
        "x": FeatureSpec("dense", "float32", (1,), required=True),
        "x2": FeatureSpec("dense", "float32", (1,)),
    }
    assert tf_examples.features_in(HALF_PLUS_TWO, signature_of("serving_default")) is None
    assert tf_examples.features_in(None, signature()) is None
    assert tf_examples.features_in(Path("/nowhere"), signature()) is None


def signature_of(name: str) -> Signature:
    """A signature of the recorded model."""
    from tfsctl.core.saved_model import read_saved_model

    return read_saved_model(HALF_PLUS_TWO).signatures[name]


@pytest.mark.parametrize(
    ("texts", "rows"),
    [
        (["miles=1"], [{"miles": [1.0]}]),
        (["miles=1.5 hour=4", "miles=2"], [{"miles": [1.5], "hour": [4]}, {"miles": [2.0]}]),
        (["miles=1", "hour=4.0", "zip=08001"], [{"miles": [1.0], "hour": [4], "zip": [b"08001"]}]),
        (['{"miles": 1, "zip": 8001, "point": [1, 2]}'], [{"miles": [1.0], "zip": [b"8001"], "point": [1.0, 2.0]}]),
        (["miles=1 point=1,2 tags=a"], [{"miles": [1.0], "point": [1.0, 2.0], "tags": [b"a"]}]),
    ],
)
def test_values_get_the_types_of_their_features(texts: list[str], rows: list[dict[str, list[object]]]) -> None:
    """Whole numbers become floats, digits stay text; each row has the features it names."""
    examples = read_examples(texts, text_features=("zip", "tags"))
    records = tf_examples.serialize(tf_examples.fit_examples(examples, FEATURES, signature()))
    assert [features_of(record) for record in records] == rows


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("mils=1", "there is no feature 'mils'; s reads tf.Examples with miles float32, hour int64 (optional), "),
        ("hour=1", "there is no value for miles; s reads tf.Examples with miles float32"),
        ("miles=far", "miles: 'far' is not float32"),
        ("miles=1 hour=1.5", "hour: 1.5 is not int64"),
        ("miles=1 hour=nan", "hour: nan is not int64"),
        ("miles=1 hour=inf", "hour: inf is not int64"),
        ("miles=1 point=1", "point has 1 values, but the model reads 2"),
        ("miles=1 miles=2 hour=x", "row 2: hour: 'x' is not int64"),
    ],
)
def test_features_that_do_not_fit(text: str, error: str) -> None:
    """The error names the feature, and the row if there are several."""
    with pytest.raises(InvalidInput) as refused:
        tf_examples.fit_examples(read_examples([text]), FEATURES, signature())
    assert refused.value.message.startswith(error)


def test_made_up_examples_fit() -> None:
    """The arguments of a hint are accepted; an optional feature is left out if others are required."""
    assert tf_examples.feature_arguments(FEATURES) == "miles=1.0"
    optional = {name: spec for name, spec in FEATURES.items() if not spec.required}
    words = tf_examples.feature_words(optional)
    assert words == ["hour=1", "zip=text", "point=[1.0,1.0]", "tags=text"]
    tf_examples.fit_examples(read_examples(words), optional, signature())


def test_columns_become_examples() -> None:
    """One record per row, with the values of all columns."""
    arrays = {
        "a": np.array([1.5, 2.0], np.float32),
        "b": np.array([[1, 2], [3, 4]]),
        "c": np.array([b"x", b""], object),
    }
    assert [features_of(record) for record in tf_examples.example_of_arrays(arrays)] == [
        {"a": [1.5], "b": [1, 2], "c": [b"x"]},
        {"a": [2.0], "b": [3, 4], "c": [b""]},
    ]


def test_signatures_for_examples() -> None:
    """One string per row may be an example."""
    assert tf_examples.may_take_examples(signature("text"))
    assert tf_examples.may_take_examples(signature(shape=None))
    assert not tf_examples.may_take_examples(signature(dtype="float32"))
    assert not tf_examples.may_take_examples(signature(shape=(None, 1)))
    assert tf_examples.is_named_for_examples(signature("Examples"))
    assert not tf_examples.is_named_for_examples(signature("text"))


def test_context_is_part_of_each_record() -> None:
    """A predict signature has no context of its own."""
    record = tf_examples.serialize(Examples(({"a": [1]},), {"b": [b"x"]}))[0]
    assert features_of(record) == {"a": [1], "b": [b"x"]}
