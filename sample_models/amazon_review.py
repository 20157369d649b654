"""Scores a product review: 0 is bad, 1 is good.

    tfsctl export sample_models/amazon_review.py
    tfsctl serve ./amazon_review
    tfsctl predict "This movie is great! :D"

The model contains its vocabulary, so its input is plain text. It is trained on the labelled sentences in
amazon_review.csv except every fifth, which it is evaluated on; the accuracy is printed.
"""

from __future__ import annotations

import csv
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

DATA = Path(__file__).with_name("amazon_review.csv")

samples = [
    "This movie is great! :D",
    "Broke after two days, a complete waste of money.",
    "Not bad, but I expected more for the price.",
    "I love it and my kids love it too.",
    "",
    "Terrible, I want my money back!!!",
    "The blue one. It has four wheels.",
    "Quel beau film, magnifique ❤",
]


def build_model() -> keras.Model:
    """Train the model. This takes some seconds on one core; the result is always the same."""
    keras.utils.set_random_seed(7)
    with DATA.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    texts = np.array([row["text"] for row in rows], object)
    labels = np.array([float(row["label"]) for row in rows])
    held_out = np.arange(len(rows)) % 5 == 0

    words = keras.layers.TextVectorization(max_tokens=400, output_mode="multi_hot")
    words.adapt(tf.constant(texts[~held_out]))
    vectors = np.asarray(words(tf.constant(texts)))

    judge = keras.Sequential(
        [keras.Input([vectors.shape[1]]), keras.layers.Dropout(0.3), keras.layers.Dense(1, "sigmoid", name="score")]
    )
    judge.compile(keras.optimizers.Adam(0.01), "binary_crossentropy", metrics=["accuracy"])
    judge.fit(vectors[~held_out], labels[~held_out], epochs=20, verbose=0)
    _, accuracy = judge.evaluate(vectors[held_out], labels[held_out], verbose=0)
    print(f"held-out accuracy: {accuracy:.0%} of {held_out.sum()} reviews, after {(~held_out).sum()} to learn from")

    text = keras.Input([], dtype="string", name="text")
    return keras.Model(text, judge.get_layer("score")(words(text)))
