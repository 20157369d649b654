"""Example requests for a signature: their values, and that a server answers them."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest
from echo_models import ECHO, Inputs, write_echo_model
from model_servers import running_server

from tfsctl.core.saved_model import read_saved_model
from tfsctl.core.types import Signature
from tfsctl.inputs.example_request import example_body, example_row, example_signature


def signature_of(folder: Path, name: str, inputs: Inputs) -> Signature:
    """A signature as a model on disk has it."""
    write_echo_model(folder, {name: inputs})
    return read_saved_model(folder).signatures[name]


@pytest.mark.parametrize(
    ("inputs", "row", "body"),
    [
        ({"x": ("float32", (None,))}, 1.0, '{"instances": [1.0]}'),
        ({"x": ("int64", (None, 2))}, [1, 1], '{"instances": [[1, 1]]}'),
        ({"x": ("bool", (None, None))}, [True], '{"instances": [[true]]}'),
        ({"x": ("float32", None)}, 1.0, '{"instances": [1.0]}'),
        ({"x": ("float32", ())}, 1.0, '{"inputs": 1.0}'),
        ({"x": ("float32", (2,))}, [1.0, 1.0], '{"inputs": [1.0, 1.0]}'),
        ({"n": ("int32", ()), "x": ("float32", (None,))}, {"n": 1, "x": 1.0}, '{"inputs": {"n": 1, "x": [1.0]}}'),
        (
            {"a": ("int32", (None,)), "b": ("bool", (None,))},
            {"a": 1, "b": True},
            '{"instances": [{"a": 1, "b": true}]}',
        ),
        ({"x": ("float16", (None,))}, 1.0, None),
    ],
)
def test_a_request_fits_its_signature(tmp_path: Path, inputs: Inputs, row: object, body: str | None) -> None:
    """Rows where every tensor has them, whole values where one has not, nothing that JSON cannot carry."""
    signature = signature_of(tmp_path / "1", "serving_default", inputs)

    assert (example_row(signature), example_body(signature)) == (row, body)


def test_another_signature_is_named_in_the_body(tmp_path: Path) -> None:
    """The default one need not be."""
    signature = signature_of(tmp_path / "1", "other", {"x": ("float32", (None,))})

    assert example_body(signature) == '{"signature_name": "other", "instances": [1.0]}'


def test_signatures_without_an_example(tmp_path: Path) -> None:
    """The default signature comes first; an image of numbers, no values and other methods than Predict have none."""
    small, large = ECHO["serving_default"], {"x": ("float32", (None, 28, 28))}
    first = signature_of(tmp_path / "1", "a", small)
    default = signature_of(tmp_path / "2", "serving_default", small)
    image = signature_of(tmp_path / "3", "serving_default", large)
    classify = Signature("a", first.inputs, first.outputs, "tensorflow/serving/classify")

    assert example_signature({"a": first, "serving_default": default}) is default
    assert example_signature({"a": first}) is first
    assert example_signature({"a": first, "serving_default": image}) is None
    assert example_signature({"a": classify}) is None
    assert example_signature({}) is None


@pytest.mark.server
def test_a_server_answers_every_example(tmp_path: Path) -> None:
    """Each kind of signature, as the default one of a model of its own."""
    bodies = {}
    for name, inputs in ECHO.items():
        body = example_body(signature_of(tmp_path / name / "1", "serving_default", inputs))
        if body is not None:
            bodies[name] = body
    assert bodies.keys() == ECHO.keys() - {"float16"}

    with running_server({name: tmp_path / name for name in bodies}, tmp_path) as served:
        for name, body in bodies.items():
            url = f"http://{served.host}:{served.rest_port}/v1/models/{name}:predict"
            with urllib.request.urlopen(url, body.encode(), timeout=240) as answer:
                assert list(json.load(answer)) == ["predictions" if "instances" in body else "outputs"]
