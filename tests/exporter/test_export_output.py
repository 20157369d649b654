"""What `tfsctl export` prints, and where: the answer on stdout, progress and the user's own words on stderr."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest
from exporting import Export
from fork_servers import ForkServer
from model_servers import clean_environment

from tfsctl.core.saved_model import read_saved_model

TWO = """
    import keras
    area, city = keras.Input((), name="area"), keras.Input((), dtype="int64", name="city")
    model = keras.Model([area, city], {"price": area * 2, "rent": keras.ops.cast(city, "float32") + area})
    samples = [{"area": 1.0, "city": 2}, {"area": 3.0, "city": 4}]
"""

CHATTY = """
    import logging, os, sys, warnings
    print("printed")
    print("said", file=sys.stderr)
    os.system("echo from a program; echo and its complaint >&2")
    logging.getLogger("user").warning("logged")
    warnings.warn("warned")
    import keras
    import tensorflow as tf
    tf.print("printed by TensorFlow")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(tf.zeros((4, 2)), tf.zeros((4, 1)), verbose=2)
"""

STEPS = ["loading TensorFlow", "building the model of net.py", "tracing", "writing", "checking", "publishing"]


def test_answer_lists_the_model_version_path_and_tensors(export: Export) -> None:
    """Off a terminal the answer is the model, its version and path, and a line for each input and output."""
    result = export(TWO, "--version", 7)
    assert result.code == 0
    assert result.stdout.splitlines() == [
        "model: net",
        "version: 7",
        "path: net/7",
        "serving_default\tinput\tarea\tfloat32\t[batch]",
        "serving_default\tinput\tcity\tint64\t[batch]",
        "serving_default\toutput\tprice\tfloat32\t[batch]",
        "serving_default\toutput\trent\tfloat32\t[batch]",
    ]
    assert result.stderr.splitlines() == [*(f"{step} …" for step in STEPS), "next: tfsctl serve ./net"]


def test_json_document_has_the_documented_keys(export: Export) -> None:
    """It also has the results of the checks; stderr is empty."""
    result = export(TWO, "--version", 7, "--json")
    document = result.document
    assert result.stderr == ""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", document.pop("created"))
    assert re.fullmatch(r"2\.\d+\.\d+", document.pop("tensorflow_version"))
    assert re.fullmatch(r"3\.\d+\.\d+", document.pop("keras_version"))
    assert re.fullmatch(r"[0-9a-f]{64}", document.pop("source_sha256"))
    inputs = document["signatures"]["serving_default"]["inputs"]
    assert inputs["city"] == {"dtype": "int64", "shape": [None], "tensor": "serving_default_city:0"}
    assert document.pop("signatures").keys() == {"serving_default"}
    check = document["checks"]["serving_default"]
    assert 0 < check.pop("run_s") < check.pop("first_run_s")
    assert document == {
        "model": "net",
        "version": 7,
        "path": "net/7",
        "row_independent": {"serving_default": True},
        "compared_with": None,
        "warmup_requests": 0,
        "removed_versions": [],
        "comparison": None,
        "checks": {
            "serving_default": {
                "ran": True,
                "inputs": "samples",
                "rows": 2,
                "shapes": {"area": [2], "city": [2]},
                "max_difference": 0.0,
                "row_tests": {"permuted": True, "together": True, "alone": True, "reason": ""},
                "notes": [],
            }
        },
        "notes": [],
        "next": "tfsctl serve ./net",
    }


def test_manifest_matches_the_output(export: Export) -> None:
    """It is in assets.extra, which model servers ignore."""
    exported = export(TWO, "--json")
    document = exported.document
    manifest = json.loads((exported.path / "assets.extra" / "tfsctl_manifest.json").read_text())
    for key in ("model", "version", "created", "tensorflow_version", "keras_version", "notes"):
        assert manifest[key] == document[key]
    assert (manifest["format"], manifest["version"]) == (2, int(exported.path.name))
    (signature,) = manifest["signatures"].values()
    assert signature["row_independent"] is True
    assert signature["check"] == document["checks"]["serving_default"]
    assert signature["inputs"] == {
        "area": {"dtype": "float32", "shape": [None]},
        "city": {"dtype": "int64", "shape": [None]},
    }


def test_quiet_prints_only_the_answer(export: Export) -> None:
    """Nothing is written to stderr."""
    result = export(TWO, "--quiet", "--version", 7)
    assert (result.code, result.stderr) == (0, "")
    assert result.stdout.startswith("model: net\n")


@pytest.mark.parametrize(
    ("to", "command"),
    [
        (".", "tfsctl serve ./net"),
        ("my models", "tfsctl serve './my models/net'"),
        ("../up", "tfsctl serve ./../up/net"),
    ],
)
def test_next_command_can_be_pasted(export: Export, to: str, command: str) -> None:
    """The next command holds the path as a shell takes it."""
    assert export(TWO, "--to", to, "--json").document["next"] == command


def test_relative_and_absolute_targets_are_printed_as_given(export: Export, tmp_path: Path) -> None:
    """The answer names the path as it was given: an absolute one stays absolute."""
    exported = export(TWO, "--to", tmp_path, "--json")
    assert exported.document["path"] == f"{tmp_path}/net/{exported.document['version']}"
    assert exported.document["next"] == f"tfsctl serve {tmp_path}/net"


def run(argv: list[str], folder: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a process in `folder`."""
    return subprocess.run(
        argv, cwd=folder, env=dict(environment), capture_output=True, text=True, timeout=240, check=False
    )


def test_stdout_has_only_the_json_document_from_the_first_import_on(export: Export, tmp_path: Path) -> None:
    """From the first import of TensorFlow on: one JSON document on stdout, and on stderr what the user's file says."""
    (export.folder / "net.py").write_text(dedent(CHATTY))
    argv = [sys.executable, "-m", "tfsctl", "export", "net.py", "--name", "other", "--json"]
    fresh = run(argv, export.folder, clean_environment(tmp_path / "process"))
    assert fresh.returncode == 0, fresh.stderr
    document = json.loads(fresh.stdout)
    signature = read_saved_model(export.folder / document["path"]).signatures["serving_default"]
    assert [spec.name for spec in (*signature.inputs, *signature.outputs)] == ["inputs", "outputs"]
    lines = [line for line in fresh.stderr.splitlines() if "loss: " not in line]
    assert sorted(lines) == [
        '  warnings.warn("warned")',
        f"{export.folder}/net.py:7: UserWarning: warned",
        "and its complaint",
        "from a program",
        "logged",
        "printed",
        "printed by TensorFlow",
        "said",
    ]


FILTERED = """
import os, sys
from tfsctl.exporter.log_filter import filter_tensorflow_logs
with filter_tensorflow_logs():
    os.write(2, b"I0000 00:00:1795340929.595180    4074 port.cc:153] oneDNN custom operations are on.\\n")
    os.write(2, b"2026-11-22 09:48:50.516770: W tensorflow/core/x.cc:1] hidden\\n")
    os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\\n")
    os.write(2, b"To enable the following instructions: AVX2, rebuild TensorFlow.\\n")
    os.write(2, b"F0000 00:00:1795340929.595180    4074 port.cc:153] fatal\\n")
    os.write(2, b"in two ")
    os.write(2, b"halves\\n")
    os.write(1, b"to descriptor 1\\n")
    print("printed")
    os.write(2, b"no line end")
print("answer")
print("talk", file=sys.stderr)
"""


def test_log_filter_keeps_back_only_lines_of_tensorflow(tmp_path: Path) -> None:
    """Only TensorFlow's lines are kept back; everything else arrives on stderr, whole; stdout comes back afterwards."""
    done = run([sys.executable, "-c", FILTERED], tmp_path, clean_environment(tmp_path / "process"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "answer\n"
    assert sorted(done.stderr.splitlines()) == [
        "F0000 00:00:1795340929.595180    4074 port.cc:153] fatal",
        "in two halves",
        "no line endtalk",
        "printed",
        "to descriptor 1",
    ]


@pytest.mark.parametrize(
    "argv", [["export", "--help"], ["export", "nowhere.py"], ["export", "net.py", "--version", "0"]]
)
def test_tensorflow_is_not_loaded_for_help_and_errors(tmp_path: Path, argv: list[str]) -> None:
    """Help and refusals come at once: neither TensorFlow nor Keras is imported for them."""
    (tmp_path / "net.py").write_text("raise SystemExit")
    code = f"import sys; from tfsctl.cli import main; main({argv!r}); print({{'tensorflow', 'keras', 'h5py'}} & set(sys.modules), file=sys.stderr)"
    done = run([sys.executable, "-c", code], tmp_path, clean_environment(tmp_path / "process"))
    assert done.stderr.splitlines()[-1] == "set()"


def test_importing_the_pipeline_loads_neither_tensorflow_nor_numpy(tmp_path: Path) -> None:
    """`import tfsctl.exporter.pipeline` is light."""
    code = (
        "import sys, tfsctl.exporter.pipeline, tfsctl.cli.commands.export.export\n"
        "print({'tensorflow', 'keras', 'numpy'} & set(sys.modules))\n"
    )
    done = run([sys.executable, "-c", code], tmp_path, clean_environment(tmp_path / "process"))
    assert done.stdout == "set()\n", done.stderr


def test_export_function_works_without_a_command_line(with_tensorflow: ForkServer, tmp_path: Path) -> None:
    """A function exports, and reports its steps."""
    (tmp_path / "net.py").write_text(
        "import keras\nmodel = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])\n"
    )
    code = (
        "import tfsctl.exporter.pipeline\n"
        "steps = []\n"
        "exported = tfsctl.exporter.pipeline.export_model('net.py', version=5, report=steps.append)\n"
        "print(exported.name, exported.version, exported.path, exported.base_path, list(exported.signatures))\n"
        "print(exported.row_independent, [check.ran for check in exported.checks], len(steps))\n"
    )
    done = with_tensorflow.run_script(code, cwd=tmp_path, environment=clean_environment(tmp_path / "process"))
    assert done.stdout.splitlines() == [
        "net 5 net/5 net ['serving_default']",
        "{'serving_default': True} [True] 6",
    ], done.stderr
