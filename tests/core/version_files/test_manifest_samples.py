"""Samples in the manifest of a version, attached to the signatures that take such rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tfsctl.core.types import Signature, TensorSpec
from tfsctl.core.version_files.manifest import MANIFEST_FILE, with_samples
from tfsctl.inputs.example_request import example_body, example_row

TEXT = TensorSpec("text", "string", (None,))
SCORE = TensorSpec("score", "float32", (None,))


def write_manifest(folder: Path, document: object) -> None:
    """A manifest with these contents."""
    (folder / MANIFEST_FILE).parent.mkdir(parents=True)
    (folder / MANIFEST_FILE).write_text(json.dumps(document))


def test_samples_are_attached_to_matching_signatures(tmp_path: Path) -> None:
    """To their signature, to one with the same inputs, and to no other."""
    write_manifest(tmp_path, {"signatures": {"serving_default": {"samples": [{"text": "good"}, {"text": "bad"}]}}})
    signatures = {
        "serving_default": Signature("serving_default", (TEXT,), (SCORE,)),
        "serve": Signature("serve", (TEXT,), (SCORE,)),
        "other": Signature("other", (TensorSpec("x", "float32", (None,)),), (SCORE,)),
    }
    found = with_samples(signatures, lambda: tmp_path)
    assert {name: one.sample for name, one in found.items()} == {
        "serving_default": {"text": "good"},
        "serve": {"text": "good"},
        "other": None,
    }
    assert found == signatures
    assert example_row(found["serving_default"]) == "good"
    assert example_body(found["serve"]) == '{"signature_name": "serve", "instances": ["good"]}'


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"signatures": []},
        {"signatures": {"serving_default": None}},
        {"signatures": {"serving_default": {"samples": "x"}}},
        {"signatures": {"serving_default": {"samples": [{"other": 1}]}}},
        {"signatures": {"serving_default": {"samples": [{}]}}},
    ],
)
def test_manifests_without_samples_are_ignored(tmp_path: Path, document: object) -> None:
    """Of an earlier version, or damaged."""
    write_manifest(tmp_path, document)
    signatures = {"serving_default": Signature("serving_default", (TEXT,), (SCORE,))}
    for find_directory in (lambda: tmp_path, lambda: tmp_path / "none", lambda: None):
        assert with_samples(signatures, find_directory)["serving_default"].sample is None


def test_long_samples_are_not_examples() -> None:
    """A sample that is too long to paste is replaced by placeholder values."""
    signature = Signature("serving_default", (TEXT,), (SCORE,), find_sample=lambda: {"text": "x" * 1000})
    assert example_row(signature) == "some text"


def test_samples_of_inputs_without_rows_are_whole_inputs() -> None:
    """A sample of an input without rows is the input."""
    inputs = (TensorSpec("n", "int32", ()), TensorSpec("x", "float32", (None,)))
    signature = Signature("serving_default", inputs, (SCORE,), find_sample=lambda: {"n": 3, "x": 1.5})
    assert example_body(signature) == '{"inputs": {"n": 3, "x": [1.5]}}'


def test_inputs_of_unknown_rank_are_scalars_beside_others() -> None:
    """Alone, an input of unknown rank is a batch."""
    inputs = (TensorSpec("keep", "float32", None), TensorSpec("x", "float32", (None, 2)))
    assert example_body(Signature("serving_default", inputs, (SCORE,))) == (
        '{"inputs": {"keep": 1.0, "x": [[1.0, 1.0]]}}'
    )
    assert example_body(Signature("serving_default", inputs[:1], (SCORE,))) == '{"instances": [1.0]}'
