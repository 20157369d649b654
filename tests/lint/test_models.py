"""Findings for SavedModels and directories of versions."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from echo_models import write_echo_model
from graph_models import GraphModel
from locations import ROOT

from tfsctl.core import protos, tensors
from tfsctl.core.tfrecord import write_records
from tfsctl.core.version_files.file_hashes import hash_files
from tfsctl.core.version_files.manifest import MANIFEST_FILE
from tfsctl.core.version_files.warmup_requests import WARMUP_FILE
from tfsctl.lint.finding import Finding
from tfsctl.lint.linting import lint

GOOD = {"serving_default": {"x": ("float32", (None,))}}


def rules(path: Path) -> list[tuple[str, str]]:
    """Rule and severity of each finding."""
    return [(one.rule, one.severity) for one in lint(path).findings]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model without findings, with version 3."""
    write_echo_model(tmp_path / "m" / "3", GOOD)
    return tmp_path / "m"


def test_good_models_have_no_findings(model: Path) -> None:
    """The base directory, the version and the file itself."""
    assert rules(model) == rules(model / "3") == rules(model / "3" / "saved_model.pb") == []


def test_directories_that_the_server_ignores_are_found(model: Path, tmp_path: Path) -> None:
    """Directories that TensorFlow Serving ignores."""
    write_echo_model(model / "v1", GOOD)
    write_echo_model(model / "1.0", GOOD)
    write_echo_model(model / "003", GOOD)
    (tmp_path / "empty").mkdir()

    assert rules(model) == [("version-name", "warning")] * 2 + [("duplicate-version", "warning")]
    assert rules(model / "v1") == [("version-name", "warning")]
    assert rules(tmp_path / "empty") == [("no-versions", "error")]


def test_damaged_versions_are_found(model: Path) -> None:
    """No file, and one that is cut short."""
    (model / "4").mkdir()
    assert rules(model) == [("saved-model", "error")]
    (model / "4" / "saved_model.pb").write_bytes((model / "3" / "saved_model.pb").read_bytes()[:-7])
    assert rules(model / "4") == [("saved-model", "error")]


def test_signatures_that_clients_cannot_use_are_found(tmp_path: Path) -> None:
    """Those that some or all clients cannot use."""
    write_echo_model(tmp_path / "none" / "1", {})
    write_echo_model(tmp_path / "other" / "1", {"score": {"x": ("float16", (None,))}})

    assert rules(tmp_path / "none") == [("no-signatures", "error")]
    assert rules(tmp_path / "other") == [
        ("no-default-signature", "warning"),
        ("rest-dtype", "warning"),
        ("rest-dtype", "warning"),
    ]


def test_operations_that_servers_lack_are_found(tmp_path: Path) -> None:
    """Python code, operations of others, and sparse tensors."""
    graph = GraphModel()
    graph.input("x")
    graph.op("PyFunc", "python", "x")
    graph.op("MyOwnOperation", "own", "x")
    graph.op("SentencepieceOp", "text")
    graph.signature({"x": "x"}, {"y": "python", "z": "own"})
    sparse = graph.meta_graph.signature_def["serving_default"].outputs["s"]
    sparse.coo_sparse.values_tensor_name = "text:0"
    sparse.dtype = 1
    graph.write(tmp_path / "m" / "1")

    found = lint(tmp_path / "m").findings

    assert [(one.rule, one.severity) for one in found] == [
        ("python-code", "error"),
        ("not-dense", "warning"),
        ("operations", "error"),
        ("operations", "warning"),
    ]
    assert "MyOwnOperation" in found[2].message
    assert "SentencepieceOp of TensorFlow Text" in found[3].message


def test_missing_variables_and_assets_are_found(tmp_path: Path) -> None:
    """Variables and assets that the graph needs."""
    graph = GraphModel()
    graph.input("x")
    graph.op("VarHandleOp", "variable")
    graph.signature({"x": "x"}, {"y": "x"})
    graph.meta_graph.saver_def.restore_op_name = "restore"
    graph.meta_graph.asset_file_def.add(filename="vocab.txt")
    version = tmp_path / "m" / "1"
    graph.write(version)

    assert rules(version) == [("variables", "error"), ("assets", "error")]
    (version / "variables").mkdir()
    (version / "variables" / "variables.index").touch()
    (version / "variables" / "variables.data-00001-of-00002").touch()
    (found, _) = lint(version).findings
    assert found.file.endswith("variables.data-00000-of-00002")


def _warmup(version: Path, *records: bytes, damage: bool = False) -> list[Finding]:
    file = version / WARMUP_FILE
    file.parent.mkdir(exist_ok=True)
    with file.open("wb") as output:
        write_records(output, records)
    if damage:
        data = bytearray(file.read_bytes())
        data[-6] ^= 1
        file.write_bytes(data)
    return list(lint(version).findings)


def test_warmup_records_that_block_loading_are_found(model: Path) -> None:
    """Records that keep a server from loading the version."""
    log = protos.PredictionLog()
    tensors.fill_proto(log.predict_log.request.inputs["x"], np.array([1.0], np.float32))
    good = log.SerializeToString()
    tensors.fill_proto(log.predict_log.request.inputs["y"], np.array([1.0], np.float32))
    wrong = log.SerializeToString()
    version = model / "3"

    assert _warmup(version, good) == []
    (damaged,) = _warmup(version, good, good, damage=True)
    (other,) = _warmup(version, good, wrong)
    (many,) = _warmup(version, *[good] * 1001)
    assert "corrupted record at" in damaged.message
    assert other.message.startswith("warmup record 2: it has the inputs {x, y}")
    assert many.message.startswith("Number of warmup records exceeds the maximum (1000)")


def test_batching_of_a_version(model: Path) -> None:
    """Its own batching parameters are checked with its signatures."""
    write_echo_model(model / "4", {"serving_default": {"x": ("float32", ())}})
    for version in ("3", "4"):
        (model / version / "batching_params.pbtxt").write_text("max_batch_size { value: 8 }")

    assert rules(model) == [("unbatchable-signature", "error")] * 2


def test_files_that_differ_from_the_manifest_are_found(model: Path) -> None:
    """Files that differ from those that were exported."""
    version = model / "3"
    (version / "assets").mkdir()
    (version / "assets" / "vocab.txt").write_text("a")
    (version / "assets" / "gone.txt").write_text("a")
    (version / MANIFEST_FILE).parent.mkdir()
    (version / MANIFEST_FILE).write_text(json.dumps({"files": hash_files(version)}))
    assert rules(version) == []
    (version / "assets" / "vocab.txt").write_text("b")
    (version / "assets" / "gone.txt").unlink()
    (version / "notes.txt").touch()

    assert [(one.rule, one.severity, Path(one.file).name) for one in lint(version).findings] == [
        ("manifest", "error", "gone.txt"),
        ("manifest", "error", "vocab.txt"),
        ("manifest", "warning", "notes.txt"),
    ]


def test_every_rule_is_documented() -> None:
    """docs/lint.md lists the names of all rules, and no others."""
    sources = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tfsctl" / "lint").glob("*.py"))
    used = set(re.findall(r'(?:Finding|add)\(\s*"([a-z0-9-]+)"', sources)) | {"json", "syntax"}
    table = (ROOT / "docs" / "lint.md").read_text(encoding="utf-8").partition("| rule |")[2]
    listed = {name for line in table.splitlines() for name in re.findall(r"`([a-z0-9-]+)`", line.partition(" | ")[0])}

    assert listed == used
