"""REST classify and regress bodies -> tf.Examples, by the rules of tensorflow_serving/util/json_tensor.cc.

`examples` lists objects of features, `context` holds features that all of them share. A feature is a value or a list
of values of one kind: whole numbers and booleans are int64, other numbers float, text and `{"b64": …}` bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tfsctl.core import protos
from tfsctl.core.types import Json
from tfsctl.server.rest.json.binary_values import decode_b64, is_b64
from tfsctl.server.rest.json.text import DuplicateKeys, debug_text, type_name
from tfsctl.server.status import invalid_argument

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

MAX_VALUES = 500_000  # examples and values in one request; each takes some microseconds
_KINDS = {"int64_list": "int64", "float_list": "float", "bytes_list": "bytes"}


def input_from_document(document: dict[str, Any]) -> protos.Input:
    """The Input message of a classify or regress body. Raises INVALID_ARGUMENT in TensorFlow Serving's words."""
    message = protos.Input()
    examples = message.example_list.examples
    if "context" in document:
        _fill(message.example_list_with_context.context, document["context"])
        examples = message.example_list_with_context.examples
    if "examples" not in document:
        raise invalid_argument(
            f"JSON Value: {debug_text(document)} When method is classify, key 'examples' is expected and was not found"
        )
    listed = document["examples"]
    if not isinstance(listed, list):
        raise invalid_argument(f"JSON Value: {debug_text(document)} Expecting 'examples' value to be an list/array")
    if not listed:
        raise invalid_argument(f"JSON Value: {debug_text(document)} 'examples' value is an empty array")
    _add_examples(examples, listed)
    return message


def inputs_from_examples(parts: Iterable[list[Json]]) -> Iterator[protos.Input]:
    """An Input message for each part of the examples of a request. Raises INVALID_ARGUMENT like `input_from_document`."""
    left = MAX_VALUES
    for part in parts:
        message = protos.Input()
        left = _add_examples(message.example_list.examples, part, left)
        yield message


def _add_examples(
    message: RepeatedCompositeFieldContainer[protos.Example], examples: list[Json], left: int = MAX_VALUES
) -> int:
    """Append examples to a message. Returns how many of the values that are left they leave."""
    for features in examples:
        left -= 1 + _fill(message.add(), features)
        if left < 0:
            raise invalid_argument(f"More than {MAX_VALUES} values in the examples of one request")
    return left


def _fill(example: protos.Example, features: object) -> int:
    """Write features into an Example. Returns the number of their values."""
    if not isinstance(features, dict):
        raise invalid_argument(f"Example must be JSON object but got JSON {type_name(features)}")
    example.features.SetInParent()
    if isinstance(features, DuplicateKeys):
        features = dict(features.pairs)  # of a feature, the last one counts
    count = 0
    for name, content in features.items():
        feature = example.features.feature[_valid_name(name)]
        values = content if isinstance(content, list) else [content]
        count += len(values)
        if count > MAX_VALUES:
            break
        if not _add_floats(feature, values):
            for value in values:
                _add(feature, name, value)
    return count


def _add_floats(feature: protos.Feature, values: list[Json]) -> bool:
    """Add values that are all floats, in a tenth of the time of adding each. Returns False, with nothing done, for others."""
    if set(map(type, values)) != {float} or feature.WhichOneof("kind") is not None:
        return False
    with np.errstate(over="ignore"):
        feature.float_list.value.extend(np.array(values).astype(np.float32).tolist())
    return True


def _valid_name(name: str) -> str:
    """A name as messages can hold it: bytes that are not UTF-8 are replaced."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _add(feature: protos.Feature, name: str, value: object) -> None:
    kind = _kind_of(name, value)
    chosen = feature.WhichOneof("kind")
    if chosen not in (None, kind):
        raise invalid_argument(f"Unexpected element type in feature: {name} expecting type: {_KINDS[chosen]}")
    getattr(feature, kind).value.append(_list_value(name, value))


def _kind_of(name: str, value: object) -> str:
    if isinstance(value, str) or is_b64(value):
        return "bytes_list"
    if isinstance(value, float):
        return "float_list"
    if isinstance(value, int):  # booleans are whole numbers here
        return "int64_list"
    raise invalid_argument(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")


def _list_value(name: str, value: Json) -> object:
    """The value as the list of its kind holds it."""
    if isinstance(value, dict):
        return decode_b64(value["b64"])
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, float):
        with np.errstate(over="ignore"):
            return float(np.float32(value))
    if value >= 2**63:
        raise invalid_argument(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    return int(value)
