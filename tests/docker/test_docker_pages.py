"""The console blocks of docs/ that need Docker do what the page shows; see tests/support/console_blocks.py.

Run with `pytest -m docker`; without a daemon these fail rather than be skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from build_standin import build
from console_blocks import commands_of, difference, run
from locations import ROOT
from model_servers import clean_environment

PAGES = [page for page in sorted((ROOT / "docs").rglob("*.md")) if "<!-- console: docker -->" in page.read_text()]


@pytest.mark.docker
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_console_blocks_with_docker(page: Path, sample_models_dir: Path, tmp_path: Path) -> None:
    """All commands of the page, in order, with the stand-in for TensorFlow Serving's image."""
    commands = commands_of(page, with_docker=True)
    folder = tmp_path / "work"
    shutil.copytree(ROOT / "sample_models", folder / "sample_models", ignore=shutil.ignore_patterns("__pycache__"))
    programs = str(Path(sys.executable).parent)
    environment = {
        **clean_environment(tmp_path / "home"),
        "PATH": os.pathsep.join([programs, os.environ["PATH"]]),
        "SAMPLES": str(sample_models_dir),
        "TFSCTL_IMAGE": build(),
    }
    try:
        run(commands, folder, environment, printed_ports=True)
    finally:
        subprocess.run([f"{programs}/tfsctl", "stop", "--all"], env=environment, capture_output=True, check=False)

    wrong = [text for text in map(difference, commands) if text]
    assert not wrong, "\n\n".join(wrong)
