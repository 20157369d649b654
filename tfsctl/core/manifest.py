"""The manifest `tfsctl export` leaves in a version: where it lies, and what a server wants from it.

Its whole form is described where it is written, in `tfsctl/export/manifest.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

MANIFEST = Path("assets.extra", "tfsctl_manifest.json")


def read_source_sha256(directory: Path) -> str | None:
    """The digest of the file a version was exported from; None without a readable manifest."""
    try:
        digest = json.loads((directory / MANIFEST).read_bytes())["source"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return digest if isinstance(digest, str) else None


def read_row_independence(directory: Path) -> dict[str, bool]:
    """By signature, whether a model's rows were found not to affect each other; nothing without a readable manifest."""
    try:
        signatures = json.loads((directory / MANIFEST).read_bytes())["signatures"]
        return {
            name: facts["row_independent"]
            for name, facts in signatures.items()
            if isinstance(facts["row_independent"], bool)
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
