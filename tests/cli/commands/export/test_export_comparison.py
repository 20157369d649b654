"""`export --compare`: the new version against an earlier one, on rows of a file or on the samples of the export."""

from __future__ import annotations

import json

import pytest
from cli_runner import RunCli
from exporting import Export

pytestmark = pytest.mark.server
MODEL = """
import tensorflow as tf

class Scale(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def __call__(self, x):
        return {{"y": {factor} * x}}

model = Scale()
model.signatures = {{"serving_default": model.__call__}}
samples = [{{"x": 1.0}}, {{"x": 2.0}}, {{"x": 3.0}}]
"""


def test_versions_are_compared_right_after_the_export(export: Export) -> None:
    """The first version has nothing to compare with; an equal one passes; a different one fails, but is published."""
    gate = ("--fail-if", "agreement<1", "--name", "scale")
    rows = export.folder / "rows.csv"
    rows.write_text("x\n" + "".join(f"{x}\n" for x in range(1, 41)), encoding="utf-8")
    first = export(MODEL.format(factor=2.0), *gate, "--compare", "latest", "--json", "--version", "1").document
    same = export(MODEL.format(factor=2.0), *gate, "--compare", "latest", "--rows", rows, "--version", "2")
    worse = export(MODEL.format(factor=2.5), *gate, "--compare", "1", "--json", "--version", "3")

    assert first["comparison"] is None
    assert same.code == 0
    assert "agreement: 100.00% of 40 rows" in same.stdout
    assert worse.code == 7
    compared = json.loads(worse.stdout)["comparison"]
    assert (compared["agreement"], compared["rows"], compared["a"]["version"]) == (0.0, 3, 1)
    assert "scale/3 was published, but did not pass the comparison" in worse.stderr
    assert (export.folder / "scale" / "3" / "saved_model.pb").exists()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--rows", "x.csv"], 2, "--rows is for a comparison"),
        (["--fail-if", "agreement<1"], 2, "--fail-if is for a comparison"),
        (["--compare", "newest"], 2, "--compare newest: not a version"),
        (["--compare", "latest", "--rows", "missing.csv"], 4, "there is no file missing.csv"),
        (["--compare", "latest", "--fail-if", "x"], 2, "is not a threshold"),
    ],
)
def test_mistakes_are_found_before_the_export(options: list[str], code: int, words: str, run_cli: RunCli) -> None:
    """Nothing is loaded or published."""
    shown = run_cli("export", "model.py", *options)

    assert (shown.code, shown.stdout) == (code, "")
    assert words in shown.stderr
