"""Installs the hook of unit_guard.py in Python processes that unit tests start: Python imports this at its start."""

from __future__ import annotations

import importlib.util
from pathlib import Path

_spec = importlib.util.spec_from_file_location("unit_guard", Path(__file__).parents[1] / "unit_guard.py")
assert _spec is not None
assert _spec.loader is not None
_guard = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_guard)
_guard.install()
