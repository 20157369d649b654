"""tf.Examples for predict signatures that parse them: finds the features of a signature, and reads arguments and lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tfsctl.cli.inference.served_models import version_directory
from tfsctl.cli.options.target import Target
from tfsctl.core.types import ModelMetadata, Signature
from tfsctl.errors import InvalidInput
from tfsctl.inputs.tf_examples import (
    feature_arguments,
    features_in,
    fit_examples,
    is_named_for_examples,
    may_take_examples,
)

if TYPE_CHECKING:
    from tfsctl.core.graphs.feature_specs import FeatureSpecs
    from tfsctl.core.inference import Examples


def parsed_features(
    target: Target, served: ModelMetadata, signature: Signature, *, required: bool
) -> FeatureSpecs | None:
    """The features to build tf.Examples with; empty if they are not known; None if the signature parses no tf.Examples.

    With `required`, raises InvalidInput instead of returning None.
    """
    found = features_in(version_directory(target, served), signature)
    is_named = may_take_examples(signature) and (required or is_named_for_examples(signature))
    if required and not found and not is_named:
        raise InvalidInput(
            f"signature {signature.name} does not take tf.Examples: its only input would be one string per row",
            hint="remove --example",
        )
    return found or ({} if is_named else None)


def read_features(texts: Sequence[str], named: Sequence[str], features: FeatureSpecs, signature: Signature) -> Examples:
    """The examples of arguments. Raises InvalidInput, and NotFound for a missing file."""
    from tfsctl.inputs.features import read_examples  # most signatures take no tf.Examples

    text_features = {name for name, spec in features.items() if spec.dtype == "string"}
    try:
        examples = read_examples(texts, named, text_features=text_features)
        return fit_examples(examples, features, signature) if features else examples
    except InvalidInput as error:
        if features:
            error.hint = f"for example: {feature_arguments(features)}"
        raise


def read_feature_lines(lines: Sequence[str], features: FeatureSpecs, signature: Signature) -> Examples:
    """The examples of lines, one per line. Raises InvalidInput with the number of the first line that is not one."""
    from tfsctl.inputs.features import read_example_lines

    return read_example_lines(lines, lambda line: read_features([line], (), features, signature))
