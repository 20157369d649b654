"""Files of other formats are named for what they are, with the way from there."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfsctl.errors import InvalidInput
from tfsctl.exporter.sources.model_source import parse_source


@pytest.mark.parametrize(
    ("name", "contents", "what", "hint"),
    [
        ("net.onnx", b"\x08\x07", "an ONNX model", "onnx2tf -i net.onnx"),
        ("net.pt", b"PK\x03\x04", "a PyTorch file", "docs/export.md"),
        ("net.pth", b"", "a PyTorch file", "docs/export.md"),
        ("net.tflite", b"", "a TensorFlow Lite model", "that it was converted from"),
        ("net.bin", b"\x1c\0\0\0TFL3", "a TensorFlow Lite model", "that it was converted from"),
        ("net.pkl", b"", "a pickle of Python objects", "docs/export.md"),
        ("net.joblib", b"", "a pickle of Python objects", "docs/export.md"),
        ("net.weights.h5", b"", "a file of weights without a model", "tfsctl export model.py --weights net.weights.h5"),
        ("net.safetensors", b"", "a safetensors file", "docs/export.md"),
        ("net.ckpt.index", b"", "a TensorFlow checkpoint", "docs/export.md"),
        ("net.ckpt-3.data-00000-of-00001", b"", "a TensorFlow checkpoint", "docs/export.md"),
        ("checkpoint", b'model_checkpoint_path: "net"', "a TensorFlow checkpoint", "docs/export.md"),
        ("frozen.pb", b"", "a GraphDef (a frozen graph)", "docs/export.md"),
        ("model.json", b'{"format": "layers-model", "weightsManifest": []}', "a TensorFlow.js model", "tensorflowjs"),
        ("net.json", b'{"class_name": "Functional"}', "the architecture of a Keras model", "--weights FILE"),
        ("net.mlmodel", b"", "a Core ML model", "that it was converted from"),
        ("net.zip", b"", "an archive", "unpack it"),
        ("net.tar.gz", b"", "an archive", "unpack it"),
        ("net.ipynb", b"", "a notebook", "jupyter nbconvert --to script net.ipynb"),
    ],
)
def test_format_of_a_foreign_file_is_told_by_name_or_first_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, contents: bytes, what: str, hint: str
) -> None:
    """The name or the first bytes tell the format."""
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(contents)

    with pytest.raises(InvalidInput) as raised:
        parse_source(name)

    assert raised.value.message.startswith(f"{name} is {what}")
    assert hint in str(raised.value.hint)


def test_other_json_files_are_not_taken_for_a_keras_model(tmp_path: Path) -> None:
    """Only JSON with a class name is the architecture of a Keras model."""
    (tmp_path / "settings.json").write_text("{}")

    with pytest.raises(InvalidInput, match="tfsctl cannot export"):
        parse_source(str(tmp_path / "settings.json"))


@pytest.mark.parametrize(
    ("file", "what"),
    [("checkpoint", "a TensorFlow checkpoint"), ("net-1.index", "a TensorFlow checkpoint"), ("model.json", "a Tensor")],
)
def test_format_of_a_foreign_directory_is_told_by_its_files(tmp_path: Path, file: str, what: str) -> None:
    """Files that only one library writes."""
    (tmp_path / file).write_text('{"weightsManifest": []}')

    with pytest.raises(InvalidInput, match=what):
        parse_source(str(tmp_path))


def test_saved_model_pb_stands_for_its_directory(tmp_path: Path) -> None:
    """The file `saved_model.pb` stands for its directory; a text file is a SavedModel too."""
    for name in ("saved_model.pb", "saved_model.pbtxt"):
        (tmp_path / name).touch()
        assert parse_source(str(tmp_path / name)).path == tmp_path
        assert parse_source(str(tmp_path)).kind == "saved_model"
        (tmp_path / name).unlink()
