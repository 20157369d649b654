"""Writes the manifest of a version, `assets.extra/tfsctl_manifest.json`.

    {"format": 1, "model": "amazon_review", "version": 1795340941, "created": "2026-11-22T09:49:01Z",
     "tfsctl_version": "0.1.0", "tensorflow_version": "2.21.0", "keras_version": "3.15.1",
     "source": {"file": "amazon_review.py", "sha256": "…"},
     "signatures": {"serving_default": {
         "inputs": {"text": {"dtype": "string", "shape": [null]}},
         "outputs": {"score": {"dtype": "float32", "shape": [null, 1]}},
         "row_independent": true,
         "check": {"ran": true, "inputs": "samples", "rows": 8, "max_difference": 0.0, "notes": []}}},
     "notes": []}

`row_independent` is null if it is unknown. TensorFlow Serving ignores unknown files in `assets.extra`.
"""

from __future__ import annotations

import json
from importlib.metadata import version as package_version

from tfsctl.core.types import Signature, TensorSpec
from tfsctl.core.version_files import MANIFEST_FILE
from tfsctl.exporter.exported import ExportedModel, SignatureCheck

FORMAT = 1


def write(exported: ExportedModel, *, file_name: str) -> None:
    """Write the manifest into the directory of a version before it is published. `file_name` is the source's."""
    checks = {check.signature: check for check in exported.checks}
    document = {
        "format": FORMAT,
        "model": exported.name,
        "version": exported.version,
        "created": exported.created,
        "tfsctl_version": package_version("tfsctl"),
        "tensorflow_version": exported.tensorflow_version,
        "keras_version": exported.keras_version,
        "source": {"file": file_name, "sha256": exported.source_sha256},
        "signatures": {name: _signature(signature, checks[name]) for name, signature in exported.signatures.items()},
        "notes": list(exported.notes),
    }
    file = exported.path / MANIFEST_FILE
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _signature(signature: Signature, check: SignatureCheck) -> dict[str, object]:
    return {
        "inputs": _tensors(signature.inputs),
        "outputs": _tensors(signature.outputs),
        "row_independent": check.row_independent,
        "check": check.as_json(),
    }


def _tensors(specs: tuple[TensorSpec, ...]) -> dict[str, dict[str, object]]:
    return {spec.name: {"dtype": spec.dtype, "shape": spec.shape} for spec in specs}
