"""Runs the commands of the GitHub and GitLab examples on the CI page, in a repository with two branches."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from locations import ROOT
from model_servers import clean_environment

PAGE = (ROOT / "docs" / "how-to" / "ci-and-probes.md").read_text(encoding="utf-8")
MODEL = """
import tensorflow as tf

class Model(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def score(self, x):
        return {{"score": tf.sigmoid({factor} * x)}}

model = Model()
model.signatures = {{"serving_default": model.score}}
"""


def example(heading: str) -> Any:
    """The first YAML document below a heading of the page."""
    section = PAGE.split(f"### {heading}\n")[1]
    return yaml.safe_load(re.search(r"```yaml\n(.*?)```", section, re.DOTALL)[1])  # type: ignore[index] # it is there


def github_commands() -> list[str]:
    """The commands of the workflow, with GitHub's expression for the base branch replaced."""
    steps = example("GitHub Actions")["jobs"]["compare"]["steps"]
    return [step["run"].replace("${{ github.base_ref }}", "main") for step in steps if "run" in step]


def gitlab_commands() -> list[str]:
    """The script of the job."""
    return list(example("GitLab CI")["compare"]["script"])


def repository(folder: Path) -> Path:
    """A clone on the branch of a change: the model of `main` has another factor. `origin` is the repository itself."""
    origin, clone = folder / "origin", folder / "clone"
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.com"]
    subprocess.run(["git", "init", "--quiet", "--initial-branch=main", origin], check=True)
    (origin / "model.py").write_text(MODEL.format(factor=1.0), encoding="utf-8")
    rows = "".join(f"{x / 10},{int(x > 0)}\n" for x in range(-40, 41) if x)
    (origin / "test.csv").write_text(f"x,label\n{rows}", encoding="utf-8")
    subprocess.run([*git, "-C", origin, "add", "."], check=True)
    subprocess.run([*git, "-C", origin, "commit", "--quiet", "-m", "model"], check=True)
    subprocess.run(["git", "clone", "--quiet", origin, clone], check=True)
    subprocess.run([*git, "-C", clone, "checkout", "--quiet", "-b", "change"], check=True)
    (clone / "model.py").write_text(MODEL.format(factor=1.000001), encoding="utf-8")
    return clone


@pytest.mark.docs
@pytest.mark.tensorflow
@pytest.mark.server
@pytest.mark.parametrize("system", ["GitHub Actions", "GitLab CI"])
def test_the_commands_run(system: str, tmp_path: Path) -> None:
    """All commands but the installation, in the order of the file, in a shell that ends at the first failure."""
    commands = github_commands() if system == "GitHub Actions" else gitlab_commands()
    assert commands[0] == "pip install tfsctl"
    clone = repository(tmp_path)
    environment = {
        **clean_environment(tmp_path / "home"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
    }
    script = "\n".join(["set -e", *commands[1:]])
    done = subprocess.run(
        [shutil.which("bash") or "bash", "-c", script],
        cwd=clone,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    # The latency of a busy machine may cross its threshold; nothing else may.
    failed = re.findall(r"^failed: .*\(fails if (.*)\)$", done.stdout, re.MULTILINE)
    assert set(failed) <= {"p99.ratio>1.5"}, done.stdout
    assert done.returncode == (7 if failed else 0), done.stderr
    assert "agreement: " in done.stdout
    assert (clone / ("report.html" if system == "GitHub Actions" else "compare.xml")).exists()
