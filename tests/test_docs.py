"""The README says what is so: commands, exit codes, keys of JSON documents, variables, links."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from cli_runner import RunCli
from locations import ROOT
from readme import README, section, table

from tfsctl.core.types import Prediction
from tfsctl.engines.registry.records import RunningServer
from tfsctl.engines.registry.usage import Usage
from tfsctl.errors import ExitCode

COMMANDS = (
    *("export", "serve", "ps", "logs", "restart", "stop", "image build", "compose"),
    *("predict", "classify", "regress", "metadata", "repl", "run", "status", "wait", "explain", "sample"),
)


def test_exit_codes() -> None:
    """The table is the enumeration, in order."""
    listed = [(int(code), name) for code, name, _ in table("Exit codes")]

    assert listed == [(code.value, code.name) for code in ExitCode]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_stands_in_the_readme(command: str, run_cli: RunCli) -> None:
    """Help opens with a full sentence, shows examples, and the README names the command."""
    shown = run_cli(*command.split(), "--help")

    assert shown.code == 0
    assert re.search(r"\n\n {1,2}[A-Z][^\n]+\.\n", shown.stdout)
    assert f"tfsctl {command}" in shown.stdout.split("Examples:")[1]
    assert f"`tfsctl {command}" in README


def test_environment_variables() -> None:
    """Every variable an option reads is listed, and no other."""
    sources = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tfsctl" / "cli").rglob("*.py"))
    read = set(re.findall(r'envvar="(TFSCTL_[A-Z_]+)"', sources)) | {"TFSCTL_STATE_DIR"}

    assert set(re.findall(r"`(TFSCTL_[A-Z_]+)`", section("Environment"))) - {"TFSCTL_"} == read


def test_json_keys(run_cli: RunCli, echo_dir: Path) -> None:
    """The keys that are listed are those that are printed."""
    listed = {cells[0]: set(re.findall(r"`(\w+)`", cells[1])) for cells in table("`--json`")}
    shown = run_cli("metadata", echo_dir, "--json")
    keys = set(ast.literal_eval(shown.stdout.replace("null", "None")))

    assert keys <= listed["`metadata`"]
    assert set(RunningServer.__dataclass_fields__) <= listed["`serve`"]
    assert {"servers", "versions", "error", "state", "uptime_s", *Usage.__dataclass_fields__} <= listed["`ps`"]
    assert set(Prediction.__dataclass_fields__) - {"latency_s"} <= listed["`predict`"]


def test_links_lead_somewhere() -> None:
    """Every relative link of the README and of the architecture page is there."""
    for page in (ROOT / "README.md", ROOT / "docs" / "architecture.md"):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), target


def test_architecture_names_files_that_exist() -> None:
    """Every module the architecture page names is there."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    modules = {path.name for folder in ("tfsctl", "benchmarks") for path in (ROOT / folder).rglob("*.py")}

    assert set(re.findall(r"\b(\w+\.py)\b", text)) - {"test_architecture.py"} <= modules
