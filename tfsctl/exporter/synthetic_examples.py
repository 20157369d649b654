"""Synthetic tf.Example records for a signature that parses them, as signatures for classify and regress do."""

from __future__ import annotations

import math

import numpy as np

from tfsctl.core import dtypes, protos, tensors
from tfsctl.core.arrays import object_array
from tfsctl.core.graphs.signature_graph import SignatureGraph
from tfsctl.core.types import Signature

_PARSER = "ParseExampleV2"
_DENSE_KEYS = 3  # index of this input: serialized, names, sparse_keys, dense_keys, ragged_keys, defaults…


def serialized_examples(graph: SignatureGraph, signature: Signature, *, rows: int) -> dict[str, np.ndarray] | None:
    """Inputs for a signature whose only input takes serialized tf.Examples: zeros for all required features.

    Returns None if the signature does not parse examples.
    """
    if [spec.dtype for spec in signature.inputs] != ["string"]:
        return None
    example, parsers = protos.Example(), 0
    for nodes in graph.nodes:
        by_name = {node.name: node for node in nodes}
        for parser in (node for node in nodes if node.op == _PARSER):
            parsers += 1
            keys = by_name.get(parser.input[_DENSE_KEYS].partition(":")[0])
            if keys is not None and keys.op == "Const":
                _add_features(example, tensors.from_proto(keys.attr["value"].tensor).tolist(), parser)
    if not parsers:
        return None
    return {signature.inputs[0].name: object_array([example.SerializeToString()] * rows)}


def _add_features(example: protos.Example, names: list[bytes], parser: protos.NodeDef) -> None:
    """Add a feature of zeros, or empty strings, for each dense feature of a parser."""
    types, shapes = parser.attr["Tdense"].list.type, parser.attr["dense_shapes"].list.shape
    for name, number, shape in zip(names, types, shapes, strict=True):
        size = math.prod(max(dim.size, 1) for dim in shape.dim)
        feature = example.features.feature[name.decode()]
        if number == dtypes.STRING.number:
            feature.bytes_list.value.extend([b""] * size)
        elif dtypes.BY_NUMBER[number].is_floating:
            feature.float_list.value.extend([0.0] * size)
        else:
            feature.int64_list.value.extend([0] * size)
