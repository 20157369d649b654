"""Whether an image has the operations of a model."""

from __future__ import annotations

from pathlib import Path

import pytest
from graph_models import GraphModel

from tfsctl.core.saved_model import read_saved_model
from tfsctl.engines.docker.checks import op_support
from tfsctl.errors import EngineError

STOCK = "tensorflow/serving:2.20.0"


def model_with(folder: Path, *ops: str, tensorflow: str = "2.20.0") -> Path:
    """A version that uses these operations."""
    model = GraphModel()
    model.meta_graph.meta_info_def.tensorflow_version = tensorflow
    fed = model.input("x")
    for op in ops:
        model.op(op, f"{op}_node".replace(">", "_"), fed)
    model.write(folder / "1")
    return folder / "1"


def test_operations_of_tensorflow_are_accepted(echo: Path) -> None:
    """Without an error or a note."""
    info = read_saved_model(echo / "1")
    op_support.check("echo", info, STOCK)
    assert op_support.notes("echo", info, "tensorflow/serving:2.21.0") == []


def test_custom_operations_are_refused_for_stock_images(tmp_path: Path) -> None:
    """Another image may have them."""
    info = read_saved_model(model_with(tmp_path, "ZeroOut", "Identity"))
    with pytest.raises(
        EngineError, match=r"^m uses the operation ZeroOut, which tensorflow/serving:2.20.0 does not ha"
    ):
        op_support.check("m", info, STOCK)
    op_support.check("m", info, "mine/serving:2.20.0")
    op_support.check("m", info, "tensorflow/serving:latest")  # who knows


def test_operations_of_a_newer_tensorflow_are_refused(tmp_path: Path) -> None:
    """The hint names the tag that has them."""
    info = read_saved_model(model_with(tmp_path, "DecodeJxl"))
    with pytest.raises(
        EngineError, match=r"^m uses the operation DecodeJxl, which came with TensorFlow 2\.21"
    ) as refused:
        op_support.check("m", info, STOCK)
    assert refused.value.hint.startswith("--tag 2.21.0")
    op_support.check("m", info, "tensorflow/serving:2.21.0-gpu")


def test_bundled_libraries_are_noted(tmp_path: Path) -> None:
    """The image has old releases of TensorFlow Text and Decision Forests."""
    info = read_saved_model(
        model_with(tmp_path, "SentencepieceOp", "TFText>RoundRobinTrim", "SimpleMLCreateModelResource")
    )
    op_support.check("m", info, STOCK)
    text, forests = op_support.notes("m", info, STOCK)

    assert text.startswith(
        "m uses the operations SentencepieceOp, TFText>RoundRobinTrim of TensorFlow Text, and tensorflow/serving:2.20.0 has"
    )
    assert "SimpleMLCreateModelResource of TensorFlow Decision Forests" in forests


def test_a_model_newer_than_the_image_is_noted(tmp_path: Path) -> None:
    """Only for TensorFlow Serving's images. A patch release is not newer."""
    info = read_saved_model(model_with(tmp_path, tensorflow="2.21.1"))

    assert op_support.notes("m", info, STOCK) == [f"m was written by TensorFlow 2.21.1, newer than {STOCK}"]
    for image in ("tensorflow/serving:2.21.0-gpu", "tensorflow/serving:latest", "mine:2.19", "tensorflow/serving"):
        assert op_support.notes("m", info, image) == []
