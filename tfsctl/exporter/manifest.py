"""Writes the manifest of a version, `assets.extra/tfsctl_manifest.json`.

docs/export.md describes its keys, and `manifest.schema.json` in this package is its JSON schema. TensorFlow Serving
ignores unknown files in `assets.extra`. `core/version_files/manifest.py` reads manifests, also those of format 1.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np

from tfsctl.core import json_tensors
from tfsctl.core.batches import NamedArrays
from tfsctl.core.types import Signature, TensorSpec
from tfsctl.core.version_files.file_hashes import hash_files
from tfsctl.core.version_files.fingerprint import read_fingerprint
from tfsctl.core.version_files.manifest import MANIFEST_FILE
from tfsctl.exporter.evidence.provenance import GitState, library_versions
from tfsctl.exporter.exported import ExportedModel, SignatureCheck

FORMAT = 2
_MAX_SAMPLE_ROWS = 3
_MAX_SAMPLE_CHARS = 4000  # per row


def schema() -> dict[str, object]:
    """The JSON schema of the manifest."""
    document: dict[str, object] = json.loads(files("tfsctl.exporter").joinpath("manifest.schema.json").read_bytes())
    return document


def write(exported: ExportedModel, *, file_name: str, git: GitState | None, hashes: dict[str, str]) -> None:
    """Write the manifest into the directory of a version before it is published.

    `file_name` is the name of the source, `git` the state of its repository, `hashes` those of `hash_files`.
    """
    checks = {check.signature: check for check in exported.checks}
    document = {
        "format": FORMAT,
        "model": exported.name,
        "version": exported.version,
        "created": exported.created,
        "fingerprint": read_fingerprint(exported.path),
        "source": {
            "file": file_name,
            "sha256": exported.source_sha256,
            "git": None if git is None else git.as_json(),
        },
        "tensorflow_version": exported.tensorflow_version,
        "keras_version": exported.keras_version,
        "libraries": library_versions(),
        "signatures": {name: _signature(signature, checks[name]) for name, signature in exported.signatures.items()},
        "memory": None
        if exported.memory is None
        else {"loaded_bytes": exported.memory.loaded_bytes, "peak_bytes": exported.memory.peak_bytes},
        "compared_with": None if exported.compared_with is None else exported.compared_with.as_json(),
        "warmup_requests": exported.warmup_requests,
        "notes": list(exported.notes),
        "files": hashes,
    }
    file = exported.path / MANIFEST_FILE
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def updated_manifest(directory: Path, *, warmup_requests: int) -> bytes | None:
    """The new content of the manifest of a published version: with this number of warmup requests, and new hashes.

    The caller writes it. None if there is no readable manifest with hashes.
    """
    try:
        document = json.loads((directory / MANIFEST_FILE).read_bytes())
    except (OSError, RecursionError, ValueError):
        return None
    if not isinstance(document, dict) or not isinstance(document.get("files"), dict):
        return None
    document |= {"warmup_requests": warmup_requests, "files": hash_files(directory)}
    return (json.dumps(document, indent=1) + "\n").encode()


def _signature(signature: Signature, check: SignatureCheck) -> dict[str, object]:
    document: dict[str, object] = {
        "method_name": signature.method_name,
        "inputs": _tensors(signature.inputs),
        "outputs": _tensors(signature.outputs),
        "row_independent": check.row_independent,
        "check": check.as_json(),
    }
    if check.features is not None:
        document["features"] = {name: spec.as_json() for name, spec in check.features.items()}
    if check.input_kind == "samples":
        document["samples"] = sample_rows(signature, check.input_arrays)
    return document


def sample_rows(signature: Signature, inputs: NamedArrays) -> list[dict[str, object]]:
    """The first rows of the samples, each as the JSON value of every input. An input without rows is repeated in each.

    Rows that are too long to read, such as images, are skipped.
    """
    batched = {spec.name for spec in signature.inputs if has_batch(spec)}
    count = max((len(inputs[name]) for name in batched if inputs[name].ndim), default=1)
    rows = []
    for number in range(min(count, _MAX_SAMPLE_ROWS)):
        row = {
            name: json_tensors.to_json(np.asarray(array[number], array.dtype) if name in batched else array)
            for name, array in _readable(inputs).items()
        }
        if len(json.dumps(row)) <= _MAX_SAMPLE_CHARS:
            rows.append(row)
    return rows


def has_batch(spec: TensorSpec) -> bool:
    """Whether the first dimension of an input counts rows, so that each sample row in the manifest holds one of them."""
    return spec.shape is None or spec.shape[:1] == (None,)


def _readable(inputs: NamedArrays) -> NamedArrays:
    """The arrays with float32 values that have as few digits as a float32 needs."""
    return {
        name: array.astype(np.str_).astype(np.float64) if array.dtype in (np.float32, np.float16) else array
        for name, array in inputs.items()
    }


def _tensors(specs: tuple[TensorSpec, ...]) -> dict[str, dict[str, object]]:
    return {spec.name: {"dtype": spec.dtype, "shape": spec.shape} for spec in specs}
