"""Every console block of the README and of docs/ does what the page shows; see tests/support/console_blocks.py."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from console_blocks import Command, commands_of, difference, normalise, run
from locations import ROOT
from model_servers import clean_environment

PAGES = [
    page for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))) if "```console" in page.read_text()
]


@pytest.mark.docs
@pytest.mark.tensorflow
@pytest.mark.server
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_console_blocks(page: Path, sample_models_dir: Path, tmp_path: Path) -> None:
    """The commands of a page, pasted in order into a shell, print what the page prints."""
    commands = commands_of(page, with_docker=False)
    folder = tmp_path / "work"
    shutil.copytree(ROOT / "sample_models", folder / "sample_models", ignore=shutil.ignore_patterns("__pycache__"))
    programs = str(Path(sys.executable).parent)
    environment = {
        **clean_environment(tmp_path / "home"),
        "PATH": os.pathsep.join([programs, os.environ["PATH"]]),
        "TFSCTL_ENGINE": "embedded",
        "SAMPLES": str(sample_models_dir),
    }
    try:
        run(commands, folder, environment)
    finally:
        subprocess.run([f"{programs}/tfsctl", "stop", "--all"], env=environment, capture_output=True, check=False)

    wrong = [text for text in map(difference, commands) if text]
    assert not wrong, "\n\n".join(wrong)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_state_their_set_up(page: Path) -> None:
    """A hidden set-up only copies exported sample models, and the page says which. It may also stop a server."""
    text = page.read_text(encoding="utf-8")
    for set_up in re.findall(r"<!-- console: setup\n(.*?)-->", text, re.DOTALL):
        for line in set_up.strip().splitlines():
            copied = re.fullmatch(r"cp -r ((?:\$SAMPLES/\S+ )+)\.", line)
            assert copied or line.startswith("tfsctl stop "), line
            names = re.findall(r"\$SAMPLES/(\S+)", copied[1]) if copied else []
            for name in ("amazon_review", "half_plus_two", "house_price") if names == ["*"] else names:
                assert f"tfsctl export sample_models/{name}.py" in text, name


def test_versions_times_widths_and_last_digits_are_not_compared() -> None:
    """What differs from run to run is normalised; the rest is compared."""
    assert normalise("version:  1795344751  in 2.5 s") == normalise("version: 1695344751 in 12 min")
    assert normalise(" ────── ") == normalise("─")
    assert normalise("0.82") != normalise("0.83")
    assert normalise("[0.8273398, 1.2345678e-05]") == normalise("[0.82733977, 1.2345611e-05]")
    assert normalise("0.827340") != normalise("0.827360")


@pytest.mark.parametrize(
    ("shown", "output", "is_right"),
    [
        (["a", "…", "d"], "a\nb\nc\nd\n", True),
        (["a", "…", "d"], "a\nd\n", True),
        (["a", "…"], "a\nb\nc\n", True),
        (["a …c"], "a b c\n", True),
        (["…"], "a\nb\n", True),
        (["a"], "a\nb\n", False),
        (["a", "…", "d"], "a\nb\nc\n", False),
        (["a …c"], "a\nc\n", False),
        (["a.c"], "abc\n", False),
    ],
)
def test_dots_stand_for_anything(shown: list[str], output: str, is_right: bool) -> None:
    """`…` alone on a line stands for lines, and within a line for text of that line."""
    assert (difference(Command("command", shown, output)) == "") is is_right


def test_a_command_that_fails_is_noticed() -> None:
    """A command without printed output must end with 0."""
    assert "ended with 4" in difference(Command("tfsctl predict", [], "error: no server\n", 4))
    assert "ended with 4" in difference(Command("tfsctl predict", ["…"], "error: no server\n", 4))


def test_notes_and_setup(tmp_path: Path) -> None:
    """A setup runs where it stands; a block that is not run, or needs Docker, is left out."""
    page = tmp_path / "page.md"
    blocks = ["<!-- console: setup\na\n-->\n", "", "<!-- console: not run: why -->\n", "<!-- console: docker -->\n"]
    page.write_text("\n".join(f"{note}```console\n$ {at}\n```\n" for at, note in enumerate(blocks)))

    assert [one.line for one in commands_of(page, with_docker=False)] == ["a", "0", "1"]
    assert [one.line for one in commands_of(page, with_docker=True)] == ["a", "0", "1", "3"]
