"""A vocabulary as a TensorFlow object: the id of a token is its line number from 0, and back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfsctl.core.types import DEFAULT_SIGNATURE
from tfsctl.errors import InvalidInput
from tfsctl.exporter.samples import Columns, Samples
from tfsctl.exporter.sources.export_options import OOV_RULES
from tfsctl.exporter.sources.servables.key_tables import key_tables, texts

if TYPE_CHECKING:
    import tensorflow as tf

IDS, TOKENS = "ids", "tokens"
_ERROR, _HASH, _NUMBER = "error", re.compile(r"hash:([1-9]\d{0,8})"), re.compile(r"-?\d{1,9}")
_SAMPLE_ROWS = 3


def vocabulary_module(tokens: Sequence[str], oov: str, folder: Path) -> tuple[tf.Module, Samples]:
    """A tf.Module with the signatures of a vocabulary, and samples for them. Raises InvalidInput for the rule `oov`.

    - `ids` (and serving_default): tokens [batch] -> ids [batch] int64, known [batch]
    - `tokens`: ids [batch] -> tokens [batch], known [batch]

    `oov` says what the id of an unknown token is: that of a token, a number, `hash:N` for one of N ids after the
    vocabulary, or `error` to refuse the request. `folder` must exist until the module is saved.
    """
    import tensorflow as tf

    number, buckets, refuses = _parse_rule(tokens, oov)
    module: Any = tf.Module()
    module.to_id, module.to_token = key_tables(tokens, folder / "vocab.txt")
    default_token = tokens[number] if number is not None and 0 <= number < len(tokens) else ""

    def ids(tokens: tf.Tensor) -> dict[str, tf.Tensor]:
        found = module.to_id.lookup(tokens)
        known = found >= 0
        if refuses:
            found = _fail_unless(known, "the vocabulary does not have the token", tokens, found)
        elif buckets:
            found = tf.where(known, found, size + tf.strings.to_hash_bucket_fast(tokens, buckets))
        else:
            found = tf.where(known, found, number)
        return {"ids": found, "known": known}

    def tokens_of(ids: tf.Tensor) -> dict[str, tf.Tensor]:
        known = (ids >= 0) & (ids < size)
        found = tf.where(known, module.to_token.lookup(ids), default_token)
        if refuses:
            found = _fail_unless(known, "the vocabulary does not have the id", ids, found)
        return {"tokens": found, "known": known}

    size = len(tokens)
    by_token, by_id = tf.TensorSpec([None], tf.string, "tokens"), tf.TensorSpec([None], tf.int64, "ids")
    to_ids = tf.function(ids, input_signature=[by_token], autograph=False)
    to_tokens = tf.function(tokens_of, input_signature=[by_id], autograph=False)
    module.signatures = {DEFAULT_SIGNATURE: to_ids, IDS: to_ids, TOKENS: to_tokens}
    sample_tokens: Columns = {"tokens": texts(tokens[:_SAMPLE_ROWS])}
    sample_ids: Columns = {"ids": np.arange(min(_SAMPLE_ROWS, size), dtype=np.int64)}
    return module, Samples(sample_tokens, {IDS: sample_tokens, TOKENS: sample_ids})


def _parse_rule(tokens: Sequence[str], oov: str) -> tuple[int | None, int, bool]:
    """The id of unknown tokens (or None), the number of hashed ids (or 0), and whether they are refused."""
    if oov in tokens:
        return tokens.index(oov), 0, False
    if oov == _ERROR:
        return None, 0, True
    if hashed := _HASH.fullmatch(oov):
        return None, int(hashed[1]), False
    if _NUMBER.fullmatch(oov):
        return int(oov), 0, False
    raise InvalidInput(f"--oov {oov}: the vocabulary has no such token", hint=OOV_RULES)


def _fail_unless(known: tf.Tensor, message: str, values: tf.Tensor, found: tf.Tensor) -> tf.Tensor:
    """`found` if all values are known. Otherwise the request fails with the message and the unknown values."""
    import tensorflow as tf

    check = tf.debugging.Assert(tf.reduce_all(known), [message, tf.boolean_mask(values, tf.logical_not(known))])
    with tf.control_dependencies([check]):
        return tf.identity(found)
