"""Lookup tables of TensorFlow from texts to their numbers and back, which read one file of the SavedModel's assets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfsctl.core.arrays import object_array

if TYPE_CHECKING:
    import tensorflow as tf

UNKNOWN = -1  # the number of a text that is not in the table


def key_tables(keys: Sequence[str], file: Path) -> tuple[tf.lookup.StaticHashTable, tf.lookup.StaticHashTable]:
    """Tables from a text to its number (UNKNOWN for an unknown text), and back ("" for an unknown number).

    Writes the keys to `file`, which must exist until the model is saved.
    """
    import tensorflow as tf

    file.write_text("".join(f"{key}\n" for key in keys), encoding="utf-8")
    whole, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    forward = tf.lookup.TextFileInitializer(str(file), tf.string, whole, tf.int64, number)
    backward = tf.lookup.TextFileInitializer(str(file), tf.int64, number, tf.string, whole)
    return tf.lookup.StaticHashTable(forward, UNKNOWN), tf.lookup.StaticHashTable(backward, "")


def texts(values: Sequence[str]) -> np.ndarray[Any, Any]:
    """Texts as an array of bytes, the form of samples."""
    return object_array([value.encode() for value in values])
