"""The sample models: what they answer, and what one of them learns from."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exporting import Export
from locations import SAMPLE_MODELS
from model_servers import Served

from tfsctl.clients.rest import RestClient
from tfsctl.core.saved_model import read_saved_model
from tfsctl.core.types import ModelRef

REVIEWS = SAMPLE_MODELS / "amazon_review.csv"


def ask(served: Served, model: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What the served sample answers, as lists."""
    arrays = {
        name: np.array([value.encode() for value in values], object)
        if isinstance(values[0], str)
        else np.array(values, np.float32)
        for name, values in inputs.items()
    }
    with RestClient(served.host, served.rest_port) as client:
        return {name: array.tolist() for name, array in client.predict(ModelRef(model), arrays).outputs.items()}


def test_half_plus_two(served: Served) -> None:
    """Half of 2 plus two is 3."""
    assert ask(served, "half_plus_two", {"x": [2.0, 0.0, -4.0, 5.0]}) == {"y": [3.0, 2.0, 0.0, 4.5]}


def test_half_plus_two_has_a_signature_of_every_kind(sample_models_dir: Path) -> None:
    """Numbers for predict; serialized records for classify and regress, under the names TensorFlow Serving looks for."""
    (version,) = (sample_models_dir / "half_plus_two").glob("[0-9]*")
    signatures = read_saved_model(version).signatures
    assert {
        name: ([spec.name for spec in found.inputs], [spec.name for spec in found.outputs])
        for name, found in signatures.items()
    } == {
        "serving_default": (["x"], ["y"]),
        "classify_x_to_y": (["inputs"], ["scores"]),
        "regress_x_to_y": (["inputs"], ["outputs"]),
    }


def test_house_price(served: Served) -> None:
    """50 square metres in Paris cost 500 000, and 2 000 a month; an unknown city is the countryside."""
    answer = ask(served, "house_price", {"area": [50.0, 40.0, 100.0], "city": ["Paris", "Lyon", "Nowhere"]})
    assert answer == {"price": [500_000.0, 200_000.0, 200_000.0], "rent": [2_000.0, 800.0, 800.0]}


def test_amazon_review(served: Served) -> None:
    """A good review scores high, a bad one low, and no text is no opinion."""
    texts = ["This movie is great! :D", "Terrible! It broke after a day, a waste of money.", ""]
    ((good,), (bad,), (none,)) = ask(served, "amazon_review", {"text": texts})["score"]
    assert good > 0.7
    assert bad < 0.1
    assert 0.3 < none < 0.7


@pytest.mark.long
def test_amazon_review_learns(export: Export) -> None:
    """It trains in seconds, says how many of the held-out reviews it gets right, and does the same every time."""
    results = [export.source(SAMPLE_MODELS / "amazon_review.py", "--json") for _ in range(2)]
    lines = [result.stderr for result in results]
    assert lines[0] == lines[1]
    found = re.fullmatch(r"held-out accuracy: (\d+)% of 127 reviews, after 508 to learn from\n", lines[0])
    assert found is not None
    assert int(found[1]) >= 70
    assert results[0].document["row_independent"] == {"serving_default": True}


@pytest.fixture
def reviews() -> list[tuple[str, str]]:
    """The labelled reviews: text and label."""
    with REVIEWS.open(newline="", encoding="utf-8") as file:
        return [(row["text"], row["label"]) for row in csv.DictReader(file)]


def test_reviews_are_balanced(reviews: list[tuple[str, str]]) -> None:
    """Some hundred sentences, as many good ones as bad ones."""
    labels = [label for _, label in reviews]
    assert len(reviews) >= 400
    assert set(labels) == {"0", "1"}
    assert abs(labels.count("1") - labels.count("0")) <= 0.05 * len(labels)


def test_reviews_differ(reviews: list[tuple[str, str]]) -> None:
    """No sentence is there twice, whatever its case and punctuation, so none is both learned from and held out."""
    words = [" ".join(re.findall(r"\w+", text.lower())) for text, _ in reviews]
    assert len(set(words)) == len(words)
    assert all(len(text) <= 200 and text == text.strip() and text for text, _ in reviews)
