"""The manifest: it follows its schema, and says where a version comes from."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from exporting import Export

from tfsctl.core.version_files.file_hashes import compare_files
from tfsctl.core.version_files.manifest import MANIFEST_FILE, read_row_independence, read_source_sha256
from tfsctl.exporter import manifest

NET = """
    import keras
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((2,), name="x"), keras.layers.Dense(1, name="y")])
"""
TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def problems(value: Any, schema: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """Where a value does not follow a JSON schema, as far as ours uses the language."""
    if "$ref" in schema:
        schema = manifest.schema()["$defs"][schema["$ref"].rpartition("/")[2]]  # type: ignore[index]
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(isinstance(value, TYPES[kind]) for kind in kinds):  # type: ignore[arg-type]
        yield f"{place}: {value!r} is not {kinds}"
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        yield f"{place}: {value!r}"
    if isinstance(value, dict):
        yield from (f"{place}: no {name}" for name in schema.get("required", []) if name not in value)
        for name, item in value.items():
            inner = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            if inner is None:
                yield f"{place}.{name} is not in the schema"
            else:
                yield from problems(item, inner, f"{place}.{name}")
    if isinstance(value, list):
        for item in value:
            yield from problems(item, schema["items"], f"{place}[]")


@pytest.mark.parametrize("sample", ["amazon_review", "half_plus_two", "house_price"])
def test_manifests_follow_the_schema(sample_models_dir: Path, sample: str) -> None:
    """Those of the sample models, tf.Example signatures included."""
    (version,) = (sample_models_dir / sample).glob("[0-9]*")
    document = json.loads((version / MANIFEST_FILE).read_text())

    assert list(problems(document, manifest.schema())) == []
    assert document["libraries"].keys() >= {"python", "tfsctl", "tensorflow", "keras", "numpy"}
    assert not compare_files(version)
    assert document["memory"]["peak_bytes"] >= document["memory"]["loaded_bytes"] > 0


def git(folder: Path, *arguments: str) -> str:
    """Run git with an identity."""
    argv = ["git", "-c", "user.name=n", "-c", "user.email=e@localhost", *arguments]
    return subprocess.run(argv, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_manifest_has_the_git_commit_and_whether_files_changed(export: Export) -> None:
    """The commit of the source's repository, and whether files that it tracks have changed."""
    (export.folder / "data.csv").touch()
    git(export.folder, "init", "-q")
    assert source_of(export)["git"] is None  # no commit yet
    git(export.folder, "add", "net.py", "data.csv")
    git(export.folder, "commit", "-q", "-m", "first")
    commit = git(export.folder, "rev-parse", "HEAD")

    assert source_of(export)["git"] == {"commit": commit, "dirty": False}
    (export.folder / "data.csv").write_text("1")
    assert source_of(export)["git"] == {"commit": commit, "dirty": True}


def source_of(export: Export) -> dict[str, Any]:
    """Export once more; what the manifest says of the source."""
    source: dict[str, Any] = json.loads((export(NET, "--json").path / MANIFEST_FILE).read_text())["source"]
    return source


def test_evidence_of_changed_files_is_not_copied(export: Export) -> None:
    """What an export found out about files holds for a copy of the same files only."""
    code = NET + "    samples = [[1., 2.], [3., 4.]]\n    model.layers[-1].activation = keras.ops.sort\n"
    original = export(code, "--json")
    assert original.document["row_independent"] == {"serving_default": True}
    unchanged = export.source(original.path, "--name", "unchanged", "--json").document
    (original.path / "assets" / "added").touch()
    changed = export.source(original.path, "--name", "changed", "--json").document

    assert unchanged["row_independent"] == {"serving_default": True}
    assert changed["row_independent"] == {"serving_default": None}


def test_manifests_of_format_1_are_read(tmp_path: Path) -> None:
    """Those that earlier versions of tfsctl wrote are read; they have no hashes of files."""
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / MANIFEST_FILE).write_text(
        json.dumps(
            {
                "format": 1,
                "source": {"file": "net.py", "sha256": "ab"},
                "signatures": {"a": {"row_independent": True}, "b": {"row_independent": None}},
            }
        )
    )

    assert read_row_independence(tmp_path) == {"a": True}
    assert read_source_sha256(tmp_path) == "ab"
    assert compare_files(tmp_path) is None
