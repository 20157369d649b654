"""Blessings: notes in the manifest of a version that a comparison passed its thresholds.

The manifest's key `blessings` is a list of documents with `time` (Unix time), `compared_with`, `data` (the name of the
rows), `rows`, `agreement`, `gates` (the thresholds) and `passed` (always true).
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from tfsctl.core.version_files.manifest import MANIFEST_FILE
from tfsctl.rollout.comparison.result import Comparison

KEY = "blessings"
MAX_BLESSINGS = 100  # the oldest are dropped


def bless(directory: Path, comparison: Comparison, *, data: str) -> str:
    """Write a blessing to the manifest of B's version. Returns the reason if it cannot be written, otherwise ""."""
    blessing: dict[str, Any] = {
        "time": int(time.time()),
        "compared_with": {"name": comparison.a.name, "model": comparison.a.model, "version": comparison.a.version},
        "data": data,
        "rows": comparison.rows,
        "agreement": comparison.agreement,
        "gates": [gate.gate for gate in comparison.gates],
        "passed": True,
    }
    file = directory / MANIFEST_FILE
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        document = json.loads(file.read_bytes()) if file.exists() else {}
        document[KEY] = [*document.get(KEY, []), blessing][-MAX_BLESSINGS:]
        file.parent.mkdir(exist_ok=True)
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        os.replace(temporary, file)
    except (OSError, RecursionError, ValueError, TypeError, AttributeError) as error:
        temporary.unlink(missing_ok=True)
        return str(error)
    return ""
