"""The README and docs/ are true: commands, exit codes, keys of JSON documents, variables, links, sizes."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from cli_runner import RunCli
from locations import ROOT
from pages import README, section, table

from tfsctl.cli.registry import COMMANDS
from tfsctl.core.types import Prediction
from tfsctl.engines.registry.usage import Usage
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import ExitCode

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

FOLDERS = ("tfsctl", "tests", "docs", "benchmarks", "scripts", "share", "sample_models", r"\.github", r"\.ci")

GENERATED = ("reference/commands.md", "reference/server-flags.md")  # by `make docs`, which checks links to them

COMMAND_LINES = [{"image": "image build", "rollout": "rollout status"}.get(name, name) for name in COMMANDS]


def test_the_table_of_exit_codes_is_complete() -> None:
    """The table is the enumeration, in order."""
    listed = [(int(code), name) for code, name, _ in table("reference.md", "Exit codes")]

    assert listed == [(code.value, code.name) for code in ExitCode]


@pytest.mark.parametrize("command", COMMAND_LINES)
def test_every_command_has_help_and_is_documented(command: str, run_cli: RunCli) -> None:
    """Help opens with a full sentence, shows examples, and the README names the command."""
    shown = run_cli(*command.split(), "--help")

    assert shown.code == 0
    assert re.search(r"\n\n {1,2}[A-Z][^\n]+\.\n", shown.stdout), "its first sentence must fit on one line"
    assert re.search(rf"^ +tfsctl {command}", shown.stdout.split("Examples:")[1], re.MULTILINE)
    assert f"`tfsctl {command}" in README


def test_every_environment_variable_is_documented() -> None:
    """Every variable an option reads is listed, and no other."""
    sources = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "tfsctl" / "cli").rglob("*.py"))
    read = set(re.findall(r'envvar="(TFSCTL_[A-Z_]+)"', sources)) | {"TFSCTL_STATE_DIR", "TFSCTL_CONFIG"}

    assert set(re.findall(r"`(TFSCTL_[A-Z_]+)`", section("reference.md", "Environment"))) - {"TFSCTL_"} == read


def test_documented_json_keys_are_those_that_are_printed(run_cli: RunCli, echo_dir: Path) -> None:
    """The keys that are listed are those that are printed."""
    listed = {cells[0]: set(re.findall(r"`(\w+)`", cells[1])) for cells in table("reference.md", "JSON")}
    shown = run_cli("metadata", echo_dir, "--json")
    keys = set(ast.literal_eval(shown.stdout.replace("null", "None")))

    assert keys <= listed["`metadata`"]
    assert set(ServerRecord.__dataclass_fields__) <= listed["`serve`"]
    assert {"servers", "versions", "error", "state", "uptime_s", *Usage.__dataclass_fields__} <= listed["`ps`"]
    assert set(Prediction.__dataclass_fields__) - {"latency_s"} <= listed["`predict`"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    """Every relative link leads to a file of this checkout, and its anchor to a heading there."""
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", page.read_text(encoding="utf-8")):
        linked = page.parent / target if target else page
        if target in GENERATED:
            continue
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), f"{target}#{anchor}"


def slug(heading: str) -> str:
    """The anchor GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_the_readme_is_short() -> None:
    """At most 6 KB: details belong in docs/."""
    assert len(README.encode()) <= 6 * 1024


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page: Path) -> None:
    """Every file and folder of this repository that a page names is there."""
    named = re.findall(rf"(?<![\w./~:-])((?:{'|'.join(FOLDERS)})/[\w./-]*[\w/])", page.read_text(encoding="utf-8"))

    assert [name for name in named if not (ROOT / name).exists() and not list(ROOT.glob(f"{name}.*"))] == []


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_pages_for_developers_name_modules_that_exist(page: str) -> None:
    """In these pages a Python file or a folder in backticks may be named from tfsctl/ or tfsctl/server/ on."""
    named = re.findall(r"`([\w./-]+(?:\.py|/))`", (ROOT / page).read_text(encoding="utf-8"))
    bases = (ROOT, ROOT / "tfsctl", ROOT / "tfsctl" / "server")

    assert [name for name in named if not any((base / name).exists() for base in bases)] == []


@pytest.mark.parametrize("package", ["tfsctl", "tfsctl/server"])
def test_the_architecture_describes_every_package(package: str) -> None:
    """Each folder with modules is in a table."""
    tables = re.findall(r"^\|.*\|$", (ROOT / "docs/architecture.md").read_text(encoding="utf-8"), re.MULTILINE)
    described = set(re.findall(r"`(\w+)/`", "\n".join(tables)))

    assert {path.parent.name for path in (ROOT / package).glob("*/__init__.py")} - described == set()


def test_constraints_pin_every_dependency() -> None:
    """constraints.txt has one version, and no address, for each package that tfsctl depends on."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    dependencies = re.findall(r'^  "([\w.-]+)>=[^;]*$', project, re.MULTILINE)
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line.partition("==")[0] for line in lines if re.fullmatch(r"[\w.-]+==[\w.!+]+", line)]

    assert [line for line in lines if line.partition("==")[0] not in pinned and not line.startswith("#")] == []
    assert {name.lower().replace("_", "-") for name in dependencies} <= set(pinned)


def test_the_changelog_is_dated() -> None:
    """Each section but the first is a version with the day of its release, the newest first."""
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    days = [re.fullmatch(r"\[\d+\.\d+\.\d+\] - (\d{4}-\d{2}-\d{2})", heading) for heading in headings[1:]]

    assert headings[0] == "[Unreleased]"
    assert all(days)
    assert [day[1] for day in days if day] == sorted((day[1] for day in days if day), reverse=True)
