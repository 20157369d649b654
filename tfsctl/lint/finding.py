"""A finding of `tfsctl lint`: what is wrong at which place, and how to fix it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["error", "warning"]
FileKind = Literal["model", "model-config", "batching", "monitoring", "tls"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    - `rule`: the name of the rule, such as `unknown-field`.
    - `severity`: an `error` keeps a server from starting, loading the model or answering requests.
    - `file`: the path of the file or directory; `line` and `column` count from 1 and are None for binary files.
    - `message`: in TensorFlow Serving's words where it has an error for this. `fix`: the change that corrects it.
    """

    rule: str
    severity: Severity
    file: str
    message: str
    fix: str = ""
    line: int | None = None
    column: int | None = None

    @property
    def place(self) -> str:
        """`FILE:LINE:COLUMN`, or the file alone."""
        return self.file if self.line is None else f"{self.file}:{self.line}:{self.column or 1}"

    def as_json(self) -> dict[str, object]:
        """The finding for `lint --json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class LintReport:
    """The findings for one path, in the order of files and lines."""

    path: str
    kind: FileKind
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> int:
        """The number of errors."""
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def warnings(self) -> int:
        """The number of warnings."""
        return len(self.findings) - self.errors

    def as_json(self) -> dict[str, object]:
        """The report for `lint --json`."""
        findings = [finding.as_json() for finding in self.findings]
        return {
            "path": self.path,
            "kind": self.kind,
            "errors": self.errors,
            "warnings": self.warnings,
            "findings": findings,
        }
