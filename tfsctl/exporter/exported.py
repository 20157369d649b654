"""The result of an export: the published version and the checks it passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tfsctl.core.types import Signature


@dataclass(frozen=True, slots=True)
class SignatureCheck:
    """The result of running one signature of the written version.

    - `inputs`: the rows it ran on: the samples of the source, synthetic rows, or none if it could not be run.
    - `max_difference`: the largest absolute difference from the source model's outputs; None if not compared.
    - `row_independent`: whether each output row depends on its own input row only; None if unknown.
    """

    signature: str
    inputs: Literal["samples", "synthetic", "none"]
    rows: int = 0
    max_difference: float | None = None
    row_independent: bool | None = None
    notes: tuple[str, ...] = ()

    @property
    def ran(self) -> bool:
        """Whether the signature could be run."""
        return self.inputs != "none"

    def as_json(self) -> dict[str, object]:
        """The check for the manifest, which holds `signature` and `row_independent` elsewhere."""
        return {
            "ran": self.ran,
            "inputs": self.inputs,
            "rows": self.rows,
            "max_difference": self.max_difference,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """One published version.

    `path` is its directory, `created` an ISO 8601 time, `tensorflow_version` the version that wrote the model.
    `keras_version` is None for a copied SavedModel.
    """

    name: str
    version: int
    path: Path
    signatures: Mapping[str, Signature]
    checks: tuple[SignatureCheck, ...]
    tensorflow_version: str
    keras_version: str | None
    source_sha256: str
    created: str
    notes: tuple[str, ...] = ()

    @property
    def base_path(self) -> Path:
        """The directory of all versions of the model, which is the base path for a model server."""
        return self.path.parent

    @property
    def row_independent(self) -> dict[str, bool | None]:
        """By signature, whether the rows of a batch do not affect each other; None if unknown."""
        return {check.signature: check.row_independent for check in self.checks}
