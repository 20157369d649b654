"""Recordings as files of requests, and as rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tfrecords

from tfsctl.core import protos, tensors
from tfsctl.core.arrays import object_array
from tfsctl.core.types import Signature, TensorSpec
from tfsctl.data.readers.prediction_logs import read_recording
from tfsctl.data.shaping import shape_rows
from tfsctl.data.sources import open_source
from tfsctl.errors import InvalidInput, NotFound

X = TensorSpec("x", "float32", (None, 2))
NAME = TensorSpec("name", "string", (None,))
SIGNATURE = Signature("serving_default", (X, NAME), ())
EXAMPLES = Signature("parse", (TensorSpec("examples", "string", (None,)),), ())


def predict_log(inputs: Mapping[str, np.ndarray], signature: str = "") -> bytes:
    """A recorded predict request."""
    log = protos.PredictionLog()
    log.predict_log.request.model_spec.signature_name = signature
    for name, array in inputs.items():
        log.predict_log.request.inputs[name].CopyFrom(tensors.to_proto(array))
    return log.SerializeToString()


def request(*rows: float, signature: str = "") -> bytes:
    """A request with these rows: `x` is [row, -row], `name` its text."""
    inputs = {
        "x": np.array([[row, -row] for row in rows], np.float32),
        "name": object_array([f"{row:g}".encode() for row in rows]),
    }
    return predict_log(inputs, signature)


def rows(path: Path, signature: Signature, notes: list[str]) -> dict[str, list[Any]]:
    """All rows, by input."""
    found: dict[str, list[Any]] = {}
    source = open_source(str(path), signature, format="recording", note=notes.append)
    for batch in shape_rows(source, signature):
        for name, array in batch.arrays.items():
            found.setdefault(name, []).extend(array.tolist())
    return found


def test_each_row_of_each_recorded_request_is_a_row(tmp_path: Path) -> None:
    """Each row of each request for the signature, over all files of a directory."""
    tfrecords.write_records(tmp_path / "r-1.tfrecord", [request(1, 2), request(9, signature="other")])
    tfrecords.write_records(tmp_path / "r-2.tfrecord", [request(3, signature="serving_default")])
    notes: list[str] = []

    found = rows(tmp_path, SIGNATURE, notes)

    assert found == {"x": [[1, -1], [2, -2], [3, -3]], "name": [b"1", b"2", b"3"]}
    assert notes == [f"{tmp_path.name}: skipped 1 requests for signatures other than serving_default"]


def test_examples_of_classifications_are_rows(tmp_path: Path) -> None:
    """A signature with one string input gets serialized examples. Any other signature gets one column per feature."""
    log = protos.PredictionLog()
    log.classify_log.request.model_spec.signature_name = "parse"
    for value in (1.0, 2.0):
        example = log.classify_log.request.input.example_list.examples.add()
        example.features.feature["x"].float_list.value.extend([value, -value])
        example.features.feature["name"].bytes_list.value.append(b"n")
    tfrecords.write_records(tmp_path / "r.tfrecord", [log.SerializeToString()])

    (serialized,) = rows(tmp_path / "r.tfrecord", EXAMPLES, []).values()
    assert [protos.Example.FromString(one).features.feature["x"].float_list.value[0] for one in serialized] == [1, 2]
    by_feature = Signature("parse", (X, NAME), ())
    assert rows(tmp_path / "r.tfrecord", by_feature, []) == {"x": [[1, -1], [2, -2]], "name": [b"n", b"n"]}


@pytest.mark.parametrize("cut", [1, 4, 5, 30])
def test_an_incomplete_record_at_the_end_is_left_out(tmp_path: Path, cut: int) -> None:
    """The server was killed while it wrote."""
    path = tmp_path / "r.tfrecord"
    tfrecords.write_records(path, [request(1), request(2)])
    path.write_bytes(path.read_bytes()[:-cut])
    notes: list[str] = []

    assert rows(path, SIGNATURE, notes)["name"] == [b"1"]
    assert notes == ["r.tfrecord ends with an incomplete record, which is skipped"]


def test_files_that_are_refused(tmp_path: Path) -> None:
    """The error names the record, or says what is missing."""
    path = tmp_path / "r.tfrecord"
    tfrecords.write_records(path, [request(1), b""])
    with pytest.raises(InvalidInput, match=r"^record 2 of r\.tfrecord is not a PredictionLog$"):
        rows(path, SIGNATURE, [])
    tfrecords.write_records(path, [request(1, signature="other")])
    with pytest.raises(InvalidInput, match=r"^r\.tfrecord has no request for the signature serving_default$"):
        rows(path, SIGNATURE, [])
    damaged = bytearray(path.read_bytes())
    damaged[20] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(InvalidInput, match=r"r\.tfrecord: corrupted record at 12"):
        list(read_recording(path))
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="there is no recording in"):
        rows(tmp_path / "empty", SIGNATURE, [])
    tfrecords.write_records(path, [predict_log({"x": np.ones((2, 2), np.float32), "name": object_array([b"a"])})])
    with pytest.raises(InvalidInput, match=r"record 1 of r\.tfrecord: its inputs have different numbers of rows"):
        rows(path, SIGNATURE, [])


def test_dropped_inputs_are_missing_values(tmp_path: Path) -> None:
    """As a column that is not in the file."""
    tfrecords.write_records(tmp_path / "r.tfrecord", [predict_log({"x": np.ones((2, 2), np.float32)})])
    with pytest.raises(InvalidInput, match="name"):
        rows(tmp_path / "r.tfrecord", SIGNATURE, [])
