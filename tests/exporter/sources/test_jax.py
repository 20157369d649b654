"""JAX functions, as docs/export.md converts them. The test needs jax."""

from __future__ import annotations

import re
from importlib.util import find_spec

import numpy as np
import pytest
from exporting import Export
from locations import ROOT

from tfsctl.exporter.session_process import SessionProcess

pytestmark = pytest.mark.skipif(find_spec("jax") is None, reason="needs jax")


def test_jax_function_of_the_docs_is_exported_and_served(export: Export) -> None:
    """The example of the docs is exported, and a server answers with it."""
    (code,) = re.findall(r"```python\n(import jax.*?)```", (ROOT / "docs" / "export.md").read_text(), re.DOTALL)

    result = export(code, "--json")

    assert result.names == (["x"], ["score"])
    with SessionProcess(result.path) as session:
        scores = session.run("serving_default", {"x": np.array([[0, 0, 0], [9, 9, 0]], np.float32)})["score"]
    assert scores.tolist() == pytest.approx([0.0, 2.0], abs=1e-6)
