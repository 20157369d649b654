"""The inputs that a signature is run on before its version is published: samples of the source, or synthetic rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tfsctl.core.arrays import object_array
from tfsctl.core.batches import NamedArrays
from tfsctl.core.graphs.feature_specs import FeatureSpec
from tfsctl.core.types import Signature
from tfsctl.errors import InvalidInput
from tfsctl.exporter.samples import Samples, png_images, synthetic_inputs
from tfsctl.exporter.synthetic_examples import serialized_examples

_SYNTHETIC_ROWS = 3
_FREE_SIZES = (1, 8, 64)  # tried in turn for free dimensions other than the batch: a convolution needs space


@dataclass(frozen=True, slots=True)
class Trial:
    """The inputs of one run: of which kind they are, and whether their rows are distinct."""

    kind: Literal["samples", "synthetic"]
    inputs: NamedArrays
    distinct: bool


def trials(
    signature: Signature, features: Mapping[str, FeatureSpec] | None, samples: Samples | None, notes: list[str]
) -> Iterator[Trial]:
    """The inputs to run a signature on, best first. Adds a note for samples that could not be used."""
    if not signature.inputs:
        yield Trial("synthetic", {}, distinct=False)
        return
    if samples is not None:
        try:
            fitted = samples.fit(signature.inputs)
        except InvalidInput as error:
            notes.append(f"`samples` was not used: {error.message}")
        else:
            yield Trial("samples", fitted, distinct=True)
    for distinct in (True, False):
        if features is not None:
            made = serialized_examples(signature.inputs[0], features, rows=_SYNTHETIC_ROWS, distinct=distinct)
            yield Trial("synthetic", made, distinct)
            continue
        for free in _FREE_SIZES:
            try:
                made = synthetic_inputs(signature.inputs, rows=_SYNTHETIC_ROWS, free=free, distinct=distinct)
            except InvalidInput as error:
                notes.append(f"not run: {error.message}")
                return
            yield Trial("synthetic", made, distinct)
    images = _image_inputs(signature, features)
    if images is not None:
        yield Trial("synthetic", images, distinct=True)
    if features is None and any(spec.shape is None for spec in signature.inputs):
        scalars = [replace(spec, shape=() if spec.shape is None else spec.shape) for spec in signature.inputs]
        made = synthetic_inputs(scalars, rows=_SYNTHETIC_ROWS, free=1)
        yield Trial("synthetic", made, distinct=False)


def _image_inputs(signature: Signature, features: Mapping[str, FeatureSpec] | None) -> NamedArrays | None:
    """Rows with images where the signature takes bytes; None if it takes none."""
    if features is not None:
        spec = signature.inputs[0]
        return serialized_examples(spec, features, rows=_SYNTHETIC_ROWS, distinct=True, images=True)
    texts = [spec.name for spec in signature.inputs if spec.dtype == "string"]
    if not texts:
        return None
    made = synthetic_inputs(signature.inputs, rows=_SYNTHETIC_ROWS, free=1, distinct=True)
    for name in texts:
        made[name] = np.resize(object_array(png_images(_SYNTHETIC_ROWS)), made[name].shape)
    return made
