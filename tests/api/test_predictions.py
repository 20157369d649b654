"""What notebooks show: predictions and metadata as escaped tables, outputs as DataFrames."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pandas as pd
import pytest

from tfsctl.api.data_frames import frame_of_outputs, is_frame, is_series
from tfsctl.api.predictions import predictions_of
from tfsctl.core.types import ModelMetadata, Prediction, Signature, TensorSpec
from tfsctl.errors import InvalidInput, TfsctlError

EVIL = "<script>alert(1)</script>"


def strings(*values: bytes) -> np.ndarray:
    """An array of strings."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def test_a_prediction_is_a_dict_with_a_table() -> None:
    """Cells, names and the model's name are escaped; long columns are cut, and the caption says so."""
    outputs = {f"<y>{number}": strings(*[EVIL.encode()] * 12) for number in range(2)}
    found = predictions_of(Prediction(outputs, "<m>", version=3, signature="s&s", latency_s=0.5))

    html = found._repr_html_()
    assert (found.model, found.version, found.signature, found.latency_s) == ("<m>", 3, "s&s", 0.5)
    assert "<script>" not in html
    assert html.count("&lt;script&gt;") == 20
    assert "<th>&lt;y&gt;0</th>" in html
    assert "&lt;m&gt; version 3, s&amp;s (the first 10 of 12 rows)" in html
    assert pickle.loads(pickle.dumps(found)).version == 3  # noqa: S301 - our own


def test_reprs_are_short() -> None:
    """A million numbers are not printed."""
    found = predictions_of(Prediction({"y": np.zeros((1000, 1000))}, "m"))
    assert len(repr(found)) < 500
    assert len(found._repr_html_()) < 3000
    assert predictions_of(Prediction({"y": np.array(1.0)}, "m"))._repr_html_().count("<td>") == 1
    assert "<td>" not in predictions_of(Prediction({}, "m"))._repr_html_()


def test_metadata_is_a_table() -> None:
    """One row per input and output, escaped."""
    spec = TensorSpec("<x>", "float32", (None, 3))
    metadata = ModelMetadata("m<", 7, {"s": Signature("s", (spec,), (spec,))})

    assert repr(metadata) == "<ModelMetadata m< version 7: s>"
    assert repr(metadata.signatures["s"]) == "<Signature s(<x>: float32 [batch, 3]) -> <x>: float32 [batch, 3]>"
    assert "<caption>m&lt; version 7</caption>" in metadata._repr_html_()
    assert metadata._repr_html_().count("<td>&lt;x&gt;</td><td>float32</td><td>[batch, 3]</td>") == 2


def test_a_frame_has_a_column_for_each_value_of_a_row() -> None:
    """A column per value of a row; larger rows are arrays in one column; strings are decoded."""
    outputs = {
        "score": np.array([1.0, 2.0]),
        "column": np.array([[3], [4]]),
        "wide": np.array([[5, 6], [7, 8]]),
        "image": np.zeros((2, 2, 2)),
        "text": strings("ü".encode(), b"\xff"),
    }
    frame = frame_of_outputs(outputs, pd.Index([10, 20]))

    assert list(frame.columns) == ["score", "column", "wide_0", "wide_1", "image", "text"]
    assert frame.index.tolist() == [10, 20]
    assert frame["column"].tolist() == [3, 4]
    assert frame["wide_1"].tolist() == [6, 8]
    assert frame["image"][10].shape == (2, 2)
    assert frame["text"].tolist() == ["ü", b"\xff"]


def test_outputs_without_one_value_per_row_do_not_become_a_frame() -> None:
    """A scalar beside rows is not repeated."""
    with pytest.raises(InvalidInput, match=r"do not have one value per row: y \[2\], loss \[\]"):
        frame_of_outputs({"y": np.zeros(2), "loss": np.zeros(())})


def test_pandas_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, a DataFrame cannot be made, and nothing else is different."""
    monkeypatch.setitem(sys.modules, "pandas", None)

    assert not is_frame([1])
    assert not is_series([1])
    with pytest.raises(TfsctlError, match="needs pandas, which is not installed") as caught:
        frame_of_outputs({"y": np.zeros(2)})
    assert caught.value.hint == "pip install pandas"
