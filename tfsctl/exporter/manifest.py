"""What tfsctl knows about a version it exported, kept beside the model in `assets.extra/tfsctl_manifest.json`.

    {"format": 1, "model": "amazon_review", "version": 1795340941, "created": "2026-11-22T09:49:01Z",
     "tfsctl_version": "0.1.0", "tensorflow_version": "2.21.0", "keras_version": "3.15.1",
     "source": {"file": "amazon_review.py", "sha256": "…"},
     "signatures": {"serving_default": {
         "inputs": {"text": {"dtype": "string", "shape": [null]}},
         "outputs": {"score": {"dtype": "float32", "shape": [null, 1]}},
         "row_independent": true,
         "check": {"ran": true, "inputs": "samples", "rows": 8, "max_difference": 0.0, "notes": []}}},
     "notes": []}

`row_independent` is true or false once real sample rows have shown it, and null while it is not known. TensorFlow
Serving passes over the files in `assets.extra` that it does not know.
"""

from __future__ import annotations

import json
from importlib.metadata import version as package_version

from tfsctl.core.types import Signature, TensorSpec
from tfsctl.core.version_files import MANIFEST_FILE
from tfsctl.exporter.exported import Check, Exported

FORMAT = 1


def write(exported: Exported, *, file_name: str) -> None:
    """Write the manifest into the directory of a version that is about to be published; its source was `file_name`."""
    found = {check.signature: check for check in exported.checks}
    document = {
        "format": FORMAT,
        "model": exported.name,
        "version": exported.version,
        "created": exported.created,
        "tfsctl_version": package_version("tfsctl"),
        "tensorflow_version": exported.tensorflow_version,
        "keras_version": exported.keras_version,
        "source": {"file": file_name, "sha256": exported.source_sha256},
        "signatures": {name: _signature(signature, found[name]) for name, signature in exported.signatures.items()},
        "notes": list(exported.notes),
    }
    file = exported.path / MANIFEST_FILE
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _signature(signature: Signature, check: Check) -> dict[str, object]:
    return {
        "inputs": _tensors(signature.inputs),
        "outputs": _tensors(signature.outputs),
        "row_independent": check.row_independent,
        "check": check.as_json(),
    }


def _tensors(specs: tuple[TensorSpec, ...]) -> dict[str, dict[str, object]]:
    return {spec.name: {"dtype": spec.dtype, "shape": spec.shape} for spec in specs}
