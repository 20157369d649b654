"""The result of an export: the published version and the checks it passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tfsctl.core.compatibility import Change
from tfsctl.core.types import Signature

if TYPE_CHECKING:  # NumPy is not loaded to import the exporter
    from tfsctl.core.batches import NamedArrays
    from tfsctl.core.graphs.feature_specs import FeatureSpec
    from tfsctl.exporter.output_comparison import RowIndependence


CHECK_TIMEOUT_S = 300.0  # the largest models load within minutes; a model that loops forever never answers


@dataclass(frozen=True, slots=True)
class SignatureCheck:
    """The result of running one signature of the written version.

    - `input_kind`: the rows it ran on: the samples of the source, synthetic rows, or none if it could not be run.
    - `max_difference`: the largest absolute difference from the source model's outputs; None if not compared.
    - `row_independent`: whether each output row depends on its own input row only; None if unknown.
    - `row_tests`: the runs that showed it; None if there were none.
    - `input_arrays`: the inputs of the run by name; empty if it could not be run.
    - `changes_state`: whether a run changes variables, which later runs read.
    - `first_run_s`, `run_s`: seconds of the first run and the median of later ones; None if there were none.
    - `features`: the features that the signature parses from its tf.Example records; None if it parses none.
    """

    signature: str
    input_kind: Literal["samples", "synthetic", "none"]
    rows: int = 0
    max_difference: float | None = None
    row_independent: bool | None = None
    notes: tuple[str, ...] = ()
    row_tests: RowIndependence | None = None
    input_arrays: NamedArrays = field(default_factory=dict, repr=False, compare=False)
    changes_state: bool = False
    first_run_s: float | None = None
    run_s: float | None = None
    features: Mapping[str, FeatureSpec] | None = None

    @property
    def ran(self) -> bool:
        """Whether the signature could be run."""
        return self.input_kind != "none"

    def as_json(self) -> dict[str, object]:
        """The check for the manifest, which holds `signature` and `row_independent` elsewhere."""
        return {
            "ran": self.ran,
            "inputs": self.input_kind,
            "rows": self.rows,
            "shapes": {name: list(array.shape) for name, array in self.input_arrays.items()},
            "max_difference": self.max_difference,
            "first_run_s": self.first_run_s,
            "run_s": self.run_s,
            "row_tests": self.row_tests and self.row_tests.as_json(),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of memory that a version takes in the process that checks it: after loading, and the maximum."""

    loaded_bytes: int
    peak_bytes: int


@dataclass(frozen=True, slots=True)
class Verification:
    """The results of loading and running a version."""

    checks: tuple[SignatureCheck, ...]
    memory: Memory


@dataclass(frozen=True, slots=True)
class VersionComparison:
    """The changes of the signatures from the version that was the latest before."""

    version: int
    changes: tuple[Change, ...]

    @property
    def breaks(self) -> bool:
        """Whether a change breaks clients."""
        return any(change.breaks for change in self.changes)

    def as_json(self) -> dict[str, object]:
        """The comparison for the manifest and `export --json`."""
        return {
            "version": self.version,
            "breaks": self.breaks,
            "changes": [asdict(change) for change in self.changes],
        }


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """One published version.

    `path` is its directory, `created` an ISO 8601 time, `tensorflow_version` the version that wrote the model.
    `keras_version` is None for a copied SavedModel. `compared_with` is None if it is the first version.
    `url` is set for a version in a remote file system. `path` was then its local copy, which no longer exists.
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
    memory: Memory | None = None
    compared_with: VersionComparison | None = None
    warmup_requests: int = 0
    url: str | None = None

    @property
    def location(self) -> str:
        """Where the version is: its URL, or the path of its directory."""
        return str(self.path) if self.url is None else self.url

    @property
    def base_path(self) -> Path:
        """The directory of all versions of the model, which is the base path for a model server."""
        return self.path.parent

    @property
    def row_independent(self) -> dict[str, bool | None]:
        """By signature, whether the rows of a batch do not affect each other; None if unknown."""
        return {check.signature: check.row_independent for check in self.checks}
