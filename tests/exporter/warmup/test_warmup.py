"""Warmup requests: `export --warmup` and `tfsctl warmup`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tfrecords
from exporting import Export

from tfsctl.core import protos, tensors
from tfsctl.core.tfrecord import read_records
from tfsctl.core.version_files.file_hashes import compare_files
from tfsctl.core.version_files.manifest import MANIFEST_FILE
from tfsctl.core.version_files.warmup_requests import WARMUP_FILE

HALF = """
    import tensorflow as tf
    class Half(tf.Module):
        @property
        def signatures(self):
            return {"serving_default": self.half, "parse": self.parse, "count": self.count}
        def __init__(self):
            super().__init__()
            self.seen = tf.Variable(0.0)
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
        def half(self, x):
            return {"y": x / 2 + 0 * self.seen}
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
        def parse(self, inputs):
            return {"outputs": tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]}
        @tf.function(input_signature=[])
        def count(self):
            return {"seen": self.seen.assign_add(1.0)}
    model = Half()
    samples = [1.0, 2.0, 4.0]
"""


@pytest.fixture
def version(sample_models_dir: Path, tmp_path: Path) -> Path:
    """A version of half_plus_two to change."""
    (found,) = (sample_models_dir / "half_plus_two").glob("[0-9]*")
    return Path(shutil.copytree(found, tmp_path / "half_plus_two" / "7"))


def logs_of(version: Path) -> list[protos.PredictionLog]:
    """The warmup requests of a version."""
    return [protos.PredictionLog.FromString(record) for record in read_records(version / WARMUP_FILE)]


def test_warmup_has_one_row_and_all_checked_rows_of_each_stateless_signature(export: Export) -> None:
    """For each signature one row, and all rows of its check; none that changes the state of the model."""
    exported = export(HALF, "--warmup", "auto", "--json")

    requests = [log.predict_log.request for log in logs_of(exported.path)]
    sizes = [(r.model_spec.signature_name, next(iter(r.inputs.values())).tensor_shape.dim[0].size) for r in requests]
    assert sorted(sizes) == [("parse", 1), ("parse", 3), ("serving_default", 1), ("serving_default", 3)]
    assert exported.document["warmup_requests"] == 4
    assert json.loads((exported.path / MANIFEST_FILE).read_text())["warmup_requests"] == 4
    assert not compare_files(exported.path)


def test_warmup_command_uses_recorded_samples_or_synthetic_rows(export: Export) -> None:
    """`tfsctl warmup PATH` takes the samples that the export recorded; without samples, the rows are synthetic."""
    exported = export(HALF, "--json")
    export.command("warmup", exported.path)

    sent = {
        (request.model_spec.signature_name, name): tensors.from_proto(tensor).tolist()
        for log in logs_of(exported.path)
        for request in [log.predict_log.request]
        for name, tensor in request.inputs.items()
    }
    assert sent["serving_default", "x"] == [1.0, 2.0, 4.0]
    assert len(sent["parse", "inputs"]) == 3


def test_warmup_requests_are_read_from_json_lines(export: Export, version: Path) -> None:
    """Bodies of REST requests, and rows; the manifest has the hash of the new file."""
    (export.folder / "requests.jsonl").write_text(
        '{"instances": [1.0, 2.0]}\n\n{"signature_name": "regress_x_to_y", "examples": [{"x": [1.0]}]}\n3.5\n'
    )
    result = export.command("warmup", version.parent, "requests.jsonl", "--json")

    assert result.document == {"path": str(version), "warmup_requests": 3}
    assert [log.WhichOneof("log_type") for log in logs_of(version)] == ["predict_log", "regress_log", "predict_log"]
    assert not compare_files(version)
    assert json.loads((version / MANIFEST_FILE).read_text())["warmup_requests"] == 3


def test_warmup_requests_are_read_from_prediction_logs_and_tables(export: Export, version: Path) -> None:
    """PredictionLog records are taken as they are; of a table, each row is a request."""
    (export.folder / "rows.csv").write_text("x\n1\n2\n")
    assert export.command("warmup", version, "rows.csv", "--json").document["warmup_requests"] == 2
    shutil.copy(version / WARMUP_FILE, export.folder / "log.tfrecord")
    before = (version / WARMUP_FILE).read_bytes()
    assert export.command("warmup", version, "log.tfrecord", "--json").document["warmup_requests"] == 2
    assert (version / WARMUP_FILE).read_bytes() == before
    assert export.command("warmup", version, "--json").document["warmup_requests"] == 6


def test_warmup_requests_of_a_copied_saved_model_are_run(export: Export, version: Path) -> None:
    """The warmup file of a SavedModel that is copied must not keep servers from loading the copy."""
    log = protos.PredictionLog()
    log.predict_log.request.model_spec.signature_name = "unknown"
    tfrecords.write_records(version / WARMUP_FILE, [log.SerializeToString()])
    result = export.source(version, "--name", "copy")

    assert result.code == 1
    assert "warmup request 1 of 1 fails, so a server would not load the version" in result.stderr
    assert not (export.folder / "copy").exists()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ('{"instances": ["a"]}', "line 1 of requests.jsonl: x[0] is text"),
        ("1.0\nhalf", "line 2 of requests.jsonl is not JSON"),
        ('{"instances": [1], "signature_name": "no"}', "line 1 of requests.jsonl: half_plus_two has no signature 'no'"),
        ("\n", "requests.jsonl has no requests"),
        ("1.0\n" * 1001, "requests.jsonl has more than 1,000 requests"),
        (None, "there is no file requests.jsonl"),
    ],
)
def test_unusable_warmup_file_is_refused_and_the_version_is_unchanged(
    export: Export, version: Path, content: str | None, error: str
) -> None:
    """The error names the line, and the version is left as it was."""
    if content is not None:
        (export.folder / "requests.jsonl").write_text(content)
    result = export.command("warmup", version, "requests.jsonl")

    assert result.code == (4 if content is None else 2)
    assert error in result.stderr
    assert not (version / WARMUP_FILE).exists()
    assert not compare_files(version)


def test_missing_warmup_file_is_reported_before_the_model_is_built(export: Export) -> None:
    """The check comes first because training may take hours."""
    result = export("raise AssertionError('the model was built')", "--warmup", "nowhere.jsonl")
    assert result.code == 4
    assert f"error: there is no file {export.folder}/nowhere.jsonl" in result.stderr
