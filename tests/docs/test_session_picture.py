"""docs/session.svg, the picture at the top of the README, shows the README's session as it is now."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from console_blocks import Command, commands_of, difference, normalise
from locations import ROOT
from model_servers import clean_environment

PICTURE = ROOT / "docs" / "session.svg"


def text_of(picture: Path) -> str:
    """The lines of a picture."""
    lines = ET.parse(picture).getroot().iter("{http://www.w3.org/2000/svg}text")  # noqa: S314 - our own file
    return "\n".join("".join(line.itertext()) for line in lines)


def test_the_picture_shows_the_session_of_the_readme() -> None:
    """Every command, and the lines of its output that the README shows. Long lines are cut."""
    shown = Command("session", text_of(PICTURE).splitlines(), "")
    for command in commands_of(ROOT / "README.md", with_docker=False):
        shown.output += "\n".join([f"$ {command.line}", *command.shown]) + "\n"
    shown.output = "\n".join(line for line in shown.output.splitlines() if line.strip())

    assert difference(shown) == ""


def test_the_picture_needs_nothing_from_elsewhere() -> None:
    """No address but the name of SVG itself."""
    assert PICTURE.read_text(encoding="utf-8").count("http") == text_of(PICTURE).count("http") + 1
    assert "![" in (ROOT / "README.md").read_text().split("## ")[0]
    assert "(docs/session.svg)" in (ROOT / "README.md").read_text().split("## ")[0]


@pytest.mark.docs
@pytest.mark.tensorflow
@pytest.mark.server
def test_the_script_draws_the_same_picture(tmp_path: Path) -> None:
    """From a real run; versions, times and ports aside."""
    script = [sys.executable, f"{ROOT}/scripts/record_session.py", "--output", f"{tmp_path}/new.svg"]
    drawn = subprocess.run(script, env=clean_environment(tmp_path), capture_output=True, text=True, check=False)

    assert drawn.returncode == 0, drawn.stderr
    assert normalise(text_of(tmp_path / "new.svg")) == normalise(text_of(PICTURE))
