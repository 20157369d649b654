"""Builds serialized tf.Example records from features, for predict signatures that parse such records.

The features of a signature are known if the model's directory can be read. Otherwise the types of the values decide.
Format: tensorflow/core/example/example.proto.
"""

from __future__ import annotations

import base64
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tfsctl.core import protos
from tfsctl.core.types import DEFAULT_SIGNATURE, PREDICT_METHOD_NAMES, Signature, TensorSpec
from tfsctl.errors import InvalidInput, TfsctlError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from tfsctl.core.graphs.feature_specs import FeatureSpec, FeatureSpecs
    from tfsctl.core.inference import Examples, Feature, Features

# The usual names of an input that takes serialized tf.Examples: TFX, Estimators and TensorFlow Serving's own examples.
_INPUT_NAMES = {
    *("example", "examples", "tf_example", "tf_examples", "input_example", "input_examples", "input_example_tensor"),
    *("serialized", "serialized_example", "serialized_examples", "serialized_tf_example", "serialized_tf_examples"),
    *("example_proto", "example_protos", "example_bytes"),
}


def may_take_examples(signature: Signature) -> bool:
    """Whether a signature may parse tf.Examples: its only input takes one string per row."""
    if len(signature.inputs) != 1:
        return False
    (spec,) = signature.inputs
    return spec.dtype == "string" and spec.encoding == "dense" and (spec.shape is None or len(spec.shape) == 1)


def features_in(directory: Path | None, signature: Signature) -> FeatureSpecs | None:
    """The features that a signature parses, read from the graph of a version; None if it parses none or is unreadable."""
    if directory is None or not may_take_examples(signature):
        return None
    from tfsctl.core.graphs.feature_specs import features_of
    from tfsctl.core.graphs.signature_graph import signature_graph
    from tfsctl.core.saved_model import read_meta_graph

    try:
        return features_of(signature_graph(read_meta_graph(directory), signature.name), signature) or None
    except (TfsctlError, KeyError, OSError):
        return None


def is_named_for_examples(signature: Signature) -> bool:
    """Whether the name of the input shows that a signature takes tf.Examples."""
    return may_take_examples(signature) and signature.inputs[0].name.lower() in _INPUT_NAMES


def fill_example(message: protos.Example, features: Features) -> None:
    """Set the features of a tf.Example. Their type is the type of their first value."""
    message.features.SetInParent()
    for name, values in features.items():
        feature = message.features.feature[name]
        if len(values):
            first = values[0]
            kind = (
                "bytes_list" if isinstance(first, bytes) else "int64_list" if isinstance(first, int) else "float_list"
            )
            getattr(feature, kind).value.extend(values)


def serialize(examples: Examples) -> np.ndarray:
    """The serialized tf.Example of each row, as an array of bytes. The context is added to every row."""
    from tfsctl.core.arrays import object_array

    records = []
    for row in examples.rows:
        message = protos.Example()
        fill_example(message, {**examples.context, **row})
        records.append(message.SerializeToString(deterministic=True))
    return object_array(records)


def fit_examples(examples: Examples, features: FeatureSpecs, signature: Signature) -> Examples:
    """The examples with the types that a signature parses.

    Raises InvalidInput for an unknown or missing feature, and for a value that does not fit.
    """
    from tfsctl.core.inference import Examples  # most signatures take no tf.Examples

    rows = []
    for number, row in enumerate(examples.rows, start=1):
        where = f"row {number}: " if len(examples.rows) > 1 else ""
        values = {**examples.context, **row}
        for name in values:
            if name not in features:
                raise InvalidInput(f"{where}there is no feature {name!r}; {describe_features(signature, features)}")
        missing = [name for name, spec in features.items() if spec.required and name not in values]
        if missing:
            raise InvalidInput(
                f"{where}there is no value for {', '.join(missing)}; {describe_features(signature, features)}"
            )
        rows.append({name: _fit(f"{where}{name}", found, features[name]) for name, found in values.items()})
    return Examples(tuple(rows))


def feature_signature(signature: Signature, features: FeatureSpecs, columns: Sequence[str]) -> Signature:
    """A signature with features as inputs: the required ones, and the optional ones among the columns of a file."""
    inputs = tuple(
        TensorSpec(name, spec.dtype, (None, *(spec.shape if spec.kind == "dense" else (None,))))
        for name, spec in sorted(features.items())
        if spec.required or name in columns
    )
    return Signature(signature.name, inputs, signature.outputs, signature.method_name)


def example_of_arrays(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """The serialized tf.Example of each row of some feature columns, as an array of bytes."""
    from tfsctl.core.inference import Examples

    names = list(arrays)
    columns = [array.reshape(len(array), -1).tolist() for array in arrays.values()]
    return serialize(Examples(tuple(dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))))


def describe_features(signature: Signature, features: FeatureSpecs) -> str:
    """The features on one line: `serving_default reads tf.Examples with trip_miles float32, hour int64 (optional)`."""
    shown = ", ".join(
        f"{name} {spec.dtype}{_size_text(spec)}{'' if spec.required else ' (optional)'}"
        for name, spec in _required_first(features)
    )
    return f"{signature.name} reads tf.Examples with {shown}"


def placeholder_features(features: FeatureSpecs) -> dict[str, Feature]:
    """One example with placeholder values: all required features, or every feature if none is required."""
    chosen = {name: spec for name, spec in features.items() if spec.required} or features
    return {name: _placeholder_feature(spec) for name, spec in chosen.items()}


def feature_arguments(features: FeatureSpecs) -> str:
    """Example arguments, quoted for a shell, such as `trip_miles=1.0 city=text`."""
    return shlex.join(feature_words(features))


def feature_words(features: FeatureSpecs) -> list[str]:
    """Example arguments, such as `trip_miles=1.0` and `city=text`."""
    words = []
    for name, values in placeholder_features(features).items():
        shown = [value.decode() if isinstance(value, bytes) else value for value in values]
        words.append(f"{name}={shown[0] if len(shown) == 1 else json.dumps(shown, separators=(',', ':'))}")
    return words


def placeholder_body(signature: Signature, features: FeatureSpecs) -> str:
    """The body of a REST request with one placeholder example: for predict, or for the method of the signature."""
    example = placeholder_features(features)
    body: dict[str, object] = {} if signature.name == DEFAULT_SIGNATURE else {"signature_name": signature.name}
    if signature.method_name in PREDICT_METHOD_NAMES:
        from tfsctl.core.inference import Examples

        record = serialize(Examples((example,)))[0]
        body["instances"] = [{"b64": base64.b64encode(record).decode()}]
    else:
        texts = {name: [v.decode() if isinstance(v, bytes) else v for v in values] for name, values in example.items()}
        body["examples"] = [texts]
    return json.dumps(body)


def _required_first(features: FeatureSpecs) -> list[tuple[str, FeatureSpec]]:
    return sorted(features.items(), key=lambda item: (not item[1].required, item[0]))


def _size(spec: FeatureSpec) -> int | None:
    """The number of values of one example; None for any number."""
    if spec.kind != "dense" or None in spec.shape:
        return None
    return math.prod(size or 0 for size in spec.shape)


def _size_text(spec: FeatureSpec) -> str:
    size = _size(spec)
    return "" if size == 1 else " (any number of values)" if size is None else f" ({size} values)"


def _placeholder_feature(spec: FeatureSpec) -> Feature:
    size = _size(spec)
    count = 1 if size is None else size
    return [b"text"] * count if spec.dtype == "string" else [1] * count if spec.dtype == "int64" else [1.0] * count


def _fit(where: str, values: Feature, spec: FeatureSpec) -> Feature:
    size = _size(spec)
    if size is not None and len(values) != size:
        raise InvalidInput(f"{where} has {len(values)} values, but the model reads {size}")
    if spec.dtype == "string":
        return [value if isinstance(value, bytes) else str(value).encode() for value in values]
    for value in values:
        if isinstance(value, bytes):
            raise InvalidInput(f"{where}: {value.decode('utf-8', 'replace')!r} is not {spec.dtype}")
        if spec.dtype == "int64" and not (math.isfinite(value) and value == int(value)):
            raise InvalidInput(f"{where}: {value} is not int64")
    return [int(value) for value in values] if spec.dtype == "int64" else [float(value) for value in values]
