"""The process that checks a version: operations of installed packages, and a limit of time."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from custom_operations import build_triple_library, write_triple_model
from exporting import Export

from tfsctl.exporter.error_text import TensorFlowError, hint_for
from tfsctl.exporter.session_process import SessionProcess


@pytest.mark.tensorflow
def test_operations_of_installed_packages_are_loaded_without_importing_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session finds the library of an installed package without importing it, if a graph needs it."""
    write_triple_model(tmp_path / "m")
    with pytest.raises(TensorFlowError, match="Op type not registered 'TfsctlTriple'"):
        SessionProcess(tmp_path / "m")

    build_triple_library(tmp_path / "packages" / "ydf_tf" / "inference.so")
    (tmp_path / "packages" / "ydf_tf" / "__init__.py").write_text("raise AssertionError('it is not imported')")
    (tmp_path / "packages" / "ydf_tf" / "other.so").write_bytes(b"TfsctlTriple\0, but no library")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "packages"))
    with SessionProcess(tmp_path / "m") as session:
        assert session.run("serving_default", {"x": np.array([1, 2], np.float32)})["y"].tolist() == [3.0, 6.0]


def test_hints_for_unknown_operations_and_slow_versions() -> None:
    """An unknown operation comes from a package; a slow version may need more time."""
    unknown = "Op type not registered '{}' in binary running on vm."
    assert hint_for(TensorFlowError("NOT_FOUND", unknown.format("SimpleMLInferenceOp"))) == (
        "pip install ydf-tf: it has the operations of decision forests (TF-DF, YDF)"
    )
    assert hint_for(TensorFlowError("NOT_FOUND", unknown.format("CaseFoldUTF8"))) == (
        "install the Python package that defines CaseFoldUTF8, for example: pip install tensorflow-text"
    )
    assert hint_for(TensorFlowError("DEADLINE_EXCEEDED", "")) == "--check-timeout SECONDS allows more time"
    assert not hint_for(TensorFlowError("INTERNAL", ""))


def test_model_that_never_answers_does_not_block_the_export(export: Export) -> None:
    """Its check process is stopped after a timeout. The model reads a pipe that nobody writes, which takes no CPU."""
    os.mkfifo(export.folder / "pipe")
    result = export(
        f"""
        import tensorflow as tf
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def model(x):
            return {{"y": x * tf.strings.to_number(tf.io.read_file({str(export.folder / "pipe")!r}))}}
        """,
        "--check-timeout",
        "5",
    )

    assert result.code == 1
    assert result.last_words == [
        "error: no server can answer with signature serving_default: DeadlineExceededError: it takes longer than 5 s",
        "hint: --check-timeout SECONDS allows more time",
    ]
    assert not (export.folder / "net").exists()
