"""Computes x / 2 + 2, with every kind of signature: answers are easy to check.

    tfsctl export sample_models/half_plus_two.py
    tfsctl serve ./half_plus_two
    tfsctl predict 2                                                     # 3.0

`serving_default` takes numbers. `classify_x_to_y` and `regress_x_to_y` take serialized tf.Example records with a
feature `x`, as TensorFlow Serving's classify and regress do.
"""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf


class HalfPlusTwo(tf.Module):
    """y = 0.5 x + 2."""

    def __init__(self) -> None:
        super().__init__()
        self.a = tf.Variable(0.5, name="a")
        self.b = tf.Variable(2.0, name="b")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def predict(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return y for each x."""
        return {"y": self.a * x + self.b}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return y as the score of one class without a label, a row for each record."""
        return {"scores": self.a * self._x(inputs) + self.b}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return y, a row for each record."""
        return {"outputs": self.a * self._x(inputs) + self.b}

    @property
    def signatures(self) -> Mapping[str, tf.types.experimental.PolymorphicFunction]:
        """What tfsctl exports: the functions by signature name."""
        return {
            "serving_default": self.predict,
            "classify_x_to_y": self.classify,
            "regress_x_to_y": self.regress,
        }

    @staticmethod
    def _x(records: tf.Tensor) -> tf.Tensor:
        return tf.io.parse_example(records, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]


model = HalfPlusTwo()

samples = [0.0, 1.0, 2.0, -4.0, 1000.0]
