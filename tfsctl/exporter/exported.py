"""What an export found out and left behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tfsctl.core.types import Signature


@dataclass(frozen=True, slots=True)
class Check:
    """What happened when one signature of the written model was loaded afresh and run.

    `inputs` says what it ran on: the source's own sample rows, made-up rows, or nothing (it could not be run).
    `max_difference` is the largest absolute difference from the model's own answer, None where there was none to
    compare with. `row_independent` says whether each row of an answer depends on its own input row only: True or False
    once sample rows have shown it, None while it is not known.
    """

    signature: str
    inputs: Literal["samples", "synthetic", "none"]
    rows: int = 0
    max_difference: float | None = None
    row_independent: bool | None = None
    notes: tuple[str, ...] = ()

    @property
    def ran(self) -> bool:
        """Whether the signature answered."""
        return self.inputs != "none"

    def as_json(self) -> dict[str, object]:
        """The check as JSON values, without what stands beside it."""
        return {
            "ran": self.ran,
            "inputs": self.inputs,
            "rows": self.rows,
            "max_difference": self.max_difference,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Exported:
    """One published version: `path` is its directory, `created` an ISO 8601 time.

    `keras_version` is None for a SavedModel that was copied; `tensorflow_version` is the one that wrote the model.
    """

    name: str
    version: int
    path: Path
    signatures: Mapping[str, Signature]
    checks: tuple[Check, ...]
    tensorflow_version: str
    keras_version: str | None
    source_sha256: str
    created: str
    notes: tuple[str, ...] = ()

    @property
    def base_path(self) -> Path:
        """The directory of all versions of the model, the one a model server is pointed at."""
        return self.path.parent

    @property
    def row_independent(self) -> dict[str, bool | None]:
        """For each signature, whether its rows are known not to affect each other."""
        return {check.signature: check.row_independent for check in self.checks}
