"""The features that a signature parses from serialized tf.Example records.

Format of the parsing operations: tensorflow/core/ops/parsing_ops.cc.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tfsctl.core import dtypes, protos, tensors
from tfsctl.core.graphs.signature_graph import SignatureGraph
from tfsctl.core.types import Shape, Signature

# Indexes of inputs. ParseExampleV2: serialized, names, sparse_keys, dense_keys, ragged_keys, defaults…
_SPARSE_KEYS, _DENSE_KEYS, _RAGGED_KEYS, _DEFAULTS = 2, 3, 4, 5
_Nodes = Mapping[str, protos.NodeDef]  # by name


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """One feature of a tf.Example.

    - `kind`: `dense` features have the same number of values in each record, `sparse` and `ragged` ones any number.
    - `shape`: of one record's values; None in it is any size. Empty for sparse and ragged features.
    - `required`: whether a record without this feature is refused: a dense feature that has no default.
    """

    kind: Literal["dense", "sparse", "ragged"]
    dtype: str
    shape: Shape = ()
    required: bool = False

    def as_json(self) -> dict[str, object]:
        """The feature for the manifest."""
        return {"kind": self.kind, "dtype": self.dtype, "shape": list(self.shape), "required": self.required}


FeatureSpecs = Mapping[str, FeatureSpec]  # by name
_NamedSpecs = Iterator[tuple[str, FeatureSpec]]


def features_of(graph: SignatureGraph, signature: Signature) -> dict[str, FeatureSpec] | None:
    """The features by name that a signature parses; None unless its only input takes tf.Example records."""
    if [spec.dtype for spec in signature.inputs] != ["string"]:
        return None
    features: dict[str, FeatureSpec] = {}
    has_parser = False
    for nodes in graph.nodes:
        by_name = {node.name: node for node in nodes}
        for node in nodes:
            if node.op in _PARSERS:
                has_parser = True
                features.update(_PARSERS[node.op](node, by_name))
    return features if has_parser else None


def _parse_example_v2(node: protos.NodeDef, nodes: _Nodes) -> _NamedSpecs:
    yield from _dense_features(node, _keys(nodes, node.input[_DENSE_KEYS]), node.input[_DEFAULTS:], nodes)
    yield from _variable_length_features("sparse", node, _keys(nodes, node.input[_SPARSE_KEYS]), "sparse_types")
    yield from _variable_length_features("ragged", node, _keys(nodes, node.input[_RAGGED_KEYS]), "ragged_value_types")


def _parse_single_example(node: protos.NodeDef, nodes: _Nodes) -> _NamedSpecs:
    """Inputs: serialized, defaults…; the keys are attributes."""
    yield from _dense_features(node, list(node.attr["dense_keys"].list.s), node.input[1:], nodes)
    yield from _variable_length_features("sparse", node, list(node.attr["sparse_keys"].list.s), "sparse_types")


def _parse_example_v1(node: protos.NodeDef, nodes: _Nodes) -> _NamedSpecs:
    """Inputs: serialized, names, each sparse key, each dense key, each default."""
    sparse, dense = node.attr["Nsparse"].i, node.attr["Ndense"].i
    keys = [key for name in node.input[2 : 2 + sparse + dense] for key in _keys(nodes, name)]
    if len(keys) == sparse + dense:
        yield from _dense_features(node, keys[sparse:], node.input[2 + sparse + dense :], nodes)
        yield from _variable_length_features("sparse", node, keys[:sparse], "sparse_types")


_PARSERS = {
    "ParseExample": _parse_example_v1,
    "ParseExampleV2": _parse_example_v2,
    "ParseSingleExample": _parse_single_example,
}
"""By operation: the function that yields the features it parses, with their names."""


def _dense_features(node: protos.NodeDef, keys: Sequence[bytes], defaults: Sequence[str], nodes: _Nodes) -> _NamedSpecs:
    types, shapes = node.attr["Tdense"].list.type, node.attr["dense_shapes"].list.shape
    for key, number, shape, default in zip(keys, types, shapes, defaults, strict=False):
        dims = tuple(None if dim.size < 0 else int(dim.size) for dim in shape.dim)
        constant = _constant(nodes, default)
        required = constant is not None and constant.size == 0 and None not in dims
        yield key.decode("utf-8", "replace"), FeatureSpec("dense", dtypes.name_of(number), dims, required)


def _variable_length_features(
    kind: Literal["sparse", "ragged"], node: protos.NodeDef, keys: Sequence[bytes], types: str
) -> _NamedSpecs:
    for key, number in zip(keys, node.attr[types].list.type, strict=False):
        yield key.decode("utf-8", "replace"), FeatureSpec(kind, dtypes.name_of(number))


def _keys(nodes: _Nodes, name: str) -> list[bytes]:
    """The strings of the constant of this name; empty if the tensor is not a constant."""
    constant = _constant(nodes, name)
    return [] if constant is None else list(constant.ravel().tolist())


def _constant(nodes: _Nodes, name: str) -> np.ndarray | None:
    """The value of the constant of this name; None if the tensor is not a constant."""
    node = nodes.get(name.partition(":")[0])
    return tensors.from_proto(node.attr["value"].tensor) if node is not None and node.op == "Const" else None
