"""Where the tests find files of this checkout."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
SAMPLE_MODELS = ROOT / "sample_models"
RECORDED = ROOT / "tests" / "conformance" / "recorded"
