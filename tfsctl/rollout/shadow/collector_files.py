"""The files of a shadow, which only its collector writes: its progress, and the comparison as a JSON document."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tfsctl.engines import state_dir
from tfsctl.engines.state_document import from_document
from tfsctl.rollout.comparison.result import Comparison
from tfsctl.rollout.shadow.shadow_state import ShadowProgress


class CollectorFiles:
    """The files in a folder. They stay until the next shadow writes its own."""

    def __init__(self, folder: Path) -> None:
        self._progress, self._report = folder / "shadow.json", folder / "shadow-report.json"

    def read_progress(self) -> ShadowProgress | None:
        """What the collector has counted; None if there is nothing, or if another version of tfsctl wrote it."""
        try:
            return from_document(ShadowProgress, json.loads(self._progress.read_text(encoding="utf-8")))
        except (OSError, RecursionError, ValueError):
            return None

    def write_progress(self, progress: ShadowProgress) -> None:
        """Write what the collector has counted. Raises EngineError."""
        state_dir.write_atomically(self._progress, json.dumps(asdict(progress)))

    def read_comparison(self, shadow: str) -> Comparison | None:
        """The comparison of the shadow with this id; None if it has compared nothing yet."""
        try:
            document: dict[str, Any] = json.loads(self._report.read_text(encoding="utf-8"))
            return Comparison.from_document(document["comparison"]) if document["shadow"] == shadow else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def write_comparison(self, shadow: str, comparison: Comparison) -> None:
        """Write the comparison. NaN and infinities are written as Python reads them. Raises EngineError."""
        document = {"shadow": shadow, "comparison": comparison.document()}
        state_dir.write_atomically(self._report, json.dumps(document))
