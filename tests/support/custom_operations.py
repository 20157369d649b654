"""A library with an operation of our own, `TfsctlTriple`, and a model that needs it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from graph_models import GraphModel
from locations import ROOT

from tfsctl.core.protos import tensorflow_directory


def build_triple_library(library: Path) -> Path:
    """Compile the operation to a shared library. Skips the test if there is no C compiler."""
    compiler = shutil.which("cc") or pytest.skip("there is no C compiler to make a library with")
    (framework,) = Path(tensorflow_directory()).glob("libtensorflow_framework.so.*")
    link = [f"-L{framework.parent}", f"-l:{framework.name}"]
    source = ROOT / "tests" / "support" / "triple_op.c"
    library.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, *link], check=True, timeout=240)
    return library


def write_triple_model(version: Path) -> None:
    """Write a version with y = 3 x."""
    graph = GraphModel()
    graph.input("x")
    graph.op("TfsctlTriple", "y", "x")
    graph.signature({"x": "x"}, {"y": "y"})
    graph.write(version)
