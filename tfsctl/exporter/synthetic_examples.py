"""Synthetic tf.Example records for a signature that parses them, as signatures for classify and regress do."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tfsctl.core import dtypes, protos
from tfsctl.core.arrays import object_array
from tfsctl.core.graphs.feature_specs import FeatureSpec
from tfsctl.core.types import TensorSpec
from tfsctl.exporter import samples


def serialized_examples(
    spec: TensorSpec, features: Mapping[str, FeatureSpec], *, rows: int, distinct: bool = False, images: bool = False
) -> dict[str, np.ndarray]:
    """An input of serialized tf.Examples with all dense features.

    They are zeros, or values that differ if `distinct`; features of bytes are images if `images`.
    """
    random = np.random.default_rng(0)
    files: list[bytes | None] = [*samples.png_images(rows)] if images else [None] * rows
    records = [_example(features, random if distinct else None, file).SerializeToString() for file in files]
    return {spec.name: object_array(records).reshape([rows] if spec.shape != () else [])}


def _example(
    features: Mapping[str, FeatureSpec], random: np.random.Generator | None, image: bytes | None
) -> protos.Example:
    example = protos.Example()
    for name, spec in features.items():
        dtype = dtypes.BY_NAME.get(spec.dtype)
        if spec.kind != "dense" or dtype is None:
            continue
        shape = [1 if dim is None else max(dim, 1) for dim in spec.shape]
        feature = example.features.feature[name]
        if dtype is dtypes.STRING and image is not None:
            feature.bytes_list.value.extend([image] * int(np.prod(shape)))
            continue
        if dtype is dtypes.STRING:
            texts = [b""] * int(np.prod(shape)) if random is None else samples.distinct_values(dtype, shape, random)
            feature.bytes_list.value.extend(np.ravel(np.asarray(texts, object)).tolist())
            continue
        values = np.zeros(shape) if random is None else samples.distinct_values(dtype, shape, random)
        if dtype.is_floating:
            feature.float_list.value.extend(values.ravel().tolist())
        else:
            feature.int64_list.value.extend(int(value) for value in values.ravel())
    return example
