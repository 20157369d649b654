"""Transformations of features: a Python function over named columns, or a keras.utils.FeatureSpace.

The file of a function defines `transform`, and `columns`: the dtype of each column by name.

    columns = {"age": "float32", "city": "string"}

    def transform(age, city):
        return {"age": age / 100, "city": tf.strings.lower(city)}
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tfsctl.errors import ExportError, InvalidInput
from tfsctl.exporter import error_text

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    from tensorflow.types.experimental import GenericFunction

TRANSFORM, COLUMNS = "transform", "columns"


def find_transformation(module: ModuleType, attribute: str | None) -> GenericFunction[Any, Any] | None:
    """The transformation of a module, as a tf.function that takes a dict of columns; None if it defines none.

    The function takes one argument for each column, or a dict of all. Raises InvalidInput for columns without a dtype.
    """
    import tensorflow as tf

    function = getattr(module, attribute or TRANSFORM, None)
    columns = getattr(module, COLUMNS, None)
    if not inspect.isfunction(function) or not isinstance(columns, Mapping) or not columns:
        return None
    specs = {str(name): _spec(str(name), column) for name, column in columns.items()}
    return tf.function(_taking_dict(function, specs), input_signature=[specs], autograph=True)


def is_feature_space(value: object) -> bool:
    """Whether a value is a keras.utils.FeatureSpace."""
    import keras

    return isinstance(value, keras.utils.FeatureSpace)


def feature_space_function(space: keras.utils.FeatureSpace) -> GenericFunction[Any, Any]:
    """A tf.function from a dict of columns [batch] to the encoded features. Raises InvalidInput if it was not adapted."""
    import tensorflow as tf

    if not space.built:
        raise InvalidInput("the FeatureSpace was not adapted", hint="feature_space.adapt(dataset) before the export")
    specs = {name: tf.TensorSpec([None], feature.dtype, name) for name, feature in space.features.items()}
    one_row = {name: tf.zeros([1], spec.dtype) for name, spec in specs.items()}  # "" for strings
    try:
        space(one_row)  # a FeatureSpace that was loaded from a file makes its layers in its first call, outside a graph
    except Exception as error:
        raise ExportError(f"the FeatureSpace fails on a row of zeros: {error_text.one_line(error)}") from error
    return tf.function(lambda features: space(dict(features)), input_signature=[specs], autograph=False)


def _spec(name: str, column: Any) -> tf.TensorSpec:  # noqa: ANN401 - a value of the user's
    import tensorflow as tf

    if isinstance(column, tf.TensorSpec):
        return tf.TensorSpec(column.shape, column.dtype, name)
    try:
        return tf.TensorSpec([None], tf.as_dtype(column), name)
    except TypeError as error:
        raise InvalidInput(
            f"`{COLUMNS}` gives {column!r} for {name}, which is not a dtype",
            hint=f'{COLUMNS} = {{"{name}": "float32"}}',
        ) from error


def _taking_dict(function: Callable[..., Any], specs: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Any]:
    """The function, changed to take one dict of columns. If its only parameter is not a column, it gets the dict."""
    parameters = inspect.signature(function).parameters
    if len(parameters) == 1 and not parameters.keys() & specs.keys():
        return lambda features: function(dict(features))
    missing = sorted(
        name
        for name, parameter in parameters.items()
        if name not in specs
        and parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    )
    if missing:
        raise InvalidInput(
            f"{function.__name__}() takes {', '.join(missing)}, which `{COLUMNS}` does not have",
            hint=f'add "{missing[0]}": "float32" to `{COLUMNS}`',
        )
    return lambda features: function(**features)
