"""Synthetic tf.Example records for a signature that parses them, as signatures for classify and regress do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from tfsctl.core.types import Signature

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow.core.framework.tensor_shape_pb2 import TensorShapeProto

_PARSER = "ParseExampleV2"
_DENSE_KEYS = 3  # index of this input: serialized, names, sparse_keys, dense_keys, ragged_keys, defaults…


def serialized_examples(
    function: tf.types.experimental.ConcreteFunction[..., Any], signature: Signature, *, rows: int
) -> dict[str, np.ndarray] | None:
    """Inputs for a signature whose only input takes serialized tf.Examples: zeros for all required features.

    `function` is the signature as TensorFlow loaded it. Returns None if it does not parse examples.
    """
    import tensorflow as tf

    if [spec.dtype for spec in signature.inputs] != ["string"]:
        return None
    concrete: Any = function  # types-tensorflow lacks the attribute `graph`
    graph = concrete.graph.as_graph_def()
    features, parsers = {}, 0
    for nodes in (graph.node, *(inner.node_def for inner in graph.library.function)):
        by_name = {node.name: node for node in nodes}
        for parser in (node for node in nodes if node.op == _PARSER):
            parsers += 1
            keys = by_name.get(parser.input[_DENSE_KEYS].partition(":")[0])
            if keys is not None and keys.op == "Const":
                names = tf.make_ndarray(keys.attr["value"].tensor).tolist()
                features.update(
                    _features(names, parser.attr["Tdense"].list.type, parser.attr["dense_shapes"].list.shape)
                )
    if not parsers:
        return None
    record = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    records = np.empty(rows, object)
    records[:] = [record] * rows  # np.full would strip trailing zero bytes
    return {signature.inputs[0].name: records}


def _features(
    names: list[bytes], types: Iterable[int], shapes: Iterable[TensorShapeProto]
) -> dict[str, tf.train.Feature]:
    import tensorflow as tf

    made = {}
    for name, number, shape in zip(names, types, shapes, strict=True):
        size = int(np.prod([max(dim.size, 1) for dim in shape.dim]))
        dtype = tf.as_dtype(number)
        if dtype == tf.string:
            value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b""] * size))
        elif dtype.is_floating:
            value = tf.train.Feature(float_list=tf.train.FloatList(value=[0.0] * size))
        else:
            value = tf.train.Feature(int64_list=tf.train.Int64List(value=[0] * size))
        made[name.decode()] = value
    return made
