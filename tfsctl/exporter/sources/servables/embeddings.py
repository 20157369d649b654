"""A table of embeddings as a TensorFlow object: finds the vector of a key, and the nearest keys of a vector or key.

Scores are computed for a part of the table at a time, so that a run needs a bounded amount of memory besides it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tfsctl.core.types import DEFAULT_SIGNATURE
from tfsctl.errors import InvalidInput
from tfsctl.exporter.samples import Columns, Samples
from tfsctl.exporter.sources.servables.key_tables import key_tables, texts
from tfsctl.exporter.sources.servables.vector_files import KeyedVectors

if TYPE_CHECKING:
    import tensorflow as tf
    from tensorflow.types.experimental import GenericFunction

Metric = Literal["cosine", "dot", "l2"]

_MAX_SCORES = 1 << 22  # scores computed at a time, of all rows of a request together: 16 MB
_MIN_PART = 1024  # vectors in a part of the table
_SAMPLE_ROWS = 3
LOOKUP, NEAREST, NEAREST_TO_KEYS = "lookup", "nearest", "nearest_to_keys"


def embeddings_module(found: KeyedVectors, metric: Metric, k: int, folder: Path) -> tuple[tf.Module, Samples]:
    """A tf.Module with the signatures of a table, and samples for them. Raises InvalidInput if `k` is too large.

    - `lookup` (and serving_default): keys [batch] -> vectors [batch, D], zeros if the key is unknown; found [batch]
    - `nearest`: vectors [batch, D] -> keys [batch, k] and scores [batch, k], best first
    - `nearest_to_keys`: keys [batch] -> the same for the vectors of keys, without the key itself; found [batch]

    The score is the cosine or the dot product (largest first), or the Euclidean distance (`l2`, smallest first).
    `folder` must exist until the module is saved.
    """
    import tensorflow as tf

    rows, size = found.vectors.shape
    if k > rows - 1:
        raise InvalidInput(f"--k {k}: the table has {rows:,} vectors, one of them the query's", hint=f"--k {rows - 1}")
    module: Any = tf.Module()
    module.numbers, module.keys = key_tables(found.keys, folder / "keys.txt")
    module.vectors = tf.Variable(tf.constant(found.vectors), trainable=False, name="vectors")
    nearest = _Nearest(module, found.vectors, metric)

    def lookup(keys: tf.Tensor) -> dict[str, tf.Tensor]:
        numbers = module.numbers.lookup(keys)
        known = numbers >= 0
        vectors = tf.gather(module.vectors, tf.maximum(numbers, 0))
        return {"vectors": tf.where(known[:, tf.newaxis], vectors, 0.0), "found": known}

    def nearest_to_vectors(vectors: tf.Tensor) -> dict[str, tf.Tensor]:
        numbers, scores = nearest(vectors, k)
        return {"keys": module.keys.lookup(numbers), "scores": scores}

    def nearest_to_keys(keys: tf.Tensor) -> dict[str, tf.Tensor]:
        own = module.numbers.lookup(keys)
        known = own >= 0
        numbers, scores = nearest(tf.gather(module.vectors, tf.maximum(own, 0)), k + 1)
        numbers, scores = _without_query(own, numbers, scores, k)
        names = tf.where(known[:, tf.newaxis], module.keys.lookup(numbers), "")
        return {"keys": names, "scores": tf.where(known[:, tf.newaxis], scores, 0.0), "found": known}

    by_key, by_vector = tf.TensorSpec([None], tf.string, "keys"), tf.TensorSpec([None, size], tf.float32, "vectors")
    module.signatures = {
        DEFAULT_SIGNATURE: _function(lookup, by_key),
        LOOKUP: _function(lookup, by_key),
        NEAREST: _function(nearest_to_vectors, by_vector),
        NEAREST_TO_KEYS: _function(nearest_to_keys, by_key),
    }
    sample_keys: Columns = {"keys": texts(found.keys[:_SAMPLE_ROWS])}
    others: dict[str, Columns] = {
        LOOKUP: sample_keys,
        NEAREST: {"vectors": found.vectors[:_SAMPLE_ROWS]},
        NEAREST_TO_KEYS: sample_keys,
    }
    return module, Samples(sample_keys, others)


class _Nearest:
    """Finds the numbers and scores of the k best vectors for each query."""

    def __init__(self, module: Any, vectors: np.ndarray, metric: Metric) -> None:  # noqa: ANN401 - a tf.Module
        import tensorflow as tf

        self._vectors = module.vectors
        self._rows = len(vectors)
        self._metric = metric
        self._norms = None
        squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
        if metric != "dot":
            norms = np.sqrt(squares) if metric == "cosine" else squares
            module.norms = self._norms = tf.Variable(
                tf.constant(norms.astype(np.float32)), trainable=False, name="norms"
            )

    def __call__(self, queries: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
        """The numbers and the scores [batch, k] for queries [batch, D], best first."""
        import tensorflow as tf

        if self._metric == "cosine":
            queries = tf.math.divide_no_nan(queries, tf.norm(queries, axis=1, keepdims=True))
        batch: Any = tf.shape(queries)[0]
        least = min(self._rows, max(_MIN_PART, k))
        part = tf.clip_by_value(_MAX_SCORES // tf.maximum(batch, 1), least, self._rows)

        def add_part(start: tf.Tensor, scores: tf.Tensor, numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            end = tf.minimum(start + part, self._rows)
            all_scores = tf.concat([scores, self._scores(queries, start, end)], 1)
            best, places = tf.math.top_k(all_scores, k)
            earlier = tf.gather(numbers, tf.minimum(places, k - 1), batch_dims=1)
            return end, best, tf.where(places < k, earlier, start + places - k)

        lowest = tf.fill([batch, k], tf.float32.min)
        free = tf.TensorShape([None, k])
        _, scores, numbers = tf.while_loop(
            lambda start, *_: start < self._rows,
            add_part,
            (tf.constant(0), lowest, tf.zeros([batch, k], tf.int32)),
            shape_invariants=(tf.TensorShape([]), free, free),
            parallel_iterations=1,
        )
        if self._metric == "l2":
            scores, numbers = self._distances(queries, numbers, k)
        return tf.cast(numbers, tf.int64), scores

    def _scores(self, queries: tf.Tensor, start: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
        """The scores [batch, end - start] of a part of the table; larger is better."""
        import tensorflow as tf

        products = tf.transpose(tf.matmul(self._vectors[start:end], queries, transpose_b=True))  # fast for one query
        if self._norms is None:
            return products
        norms = self._norms[start:end][tf.newaxis]
        return tf.math.divide_no_nan(products, norms) if self._metric == "cosine" else 2.0 * products - norms

    def _distances(self, queries: tf.Tensor, numbers: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
        """The exact distances of the chosen vectors, nearest first: products round away small distances."""
        import tensorflow as tf

        chosen = tf.gather(self._vectors, numbers)
        distances = tf.norm(chosen - queries[:, tf.newaxis], axis=2)
        best, places = tf.math.top_k(-distances, k)
        return -best, tf.gather(numbers, places, batch_dims=1)


def _without_query(own: tf.Tensor, numbers: tf.Tensor, scores: tf.Tensor, k: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The first k results of k + 1, without the query's own number."""
    import tensorflow as tf

    others = tf.cast(numbers == own[:, tf.newaxis], tf.int32)
    order = tf.argsort(others, axis=1, stable=True)[:, :k]
    return tf.gather(numbers, order, batch_dims=1), tf.gather(scores, order, batch_dims=1)


def _function(call: Callable[..., Any], spec: tf.TensorSpec) -> GenericFunction[Any, Any]:
    import tensorflow as tf

    return tf.function(call, input_signature=[spec], autograph=False)
