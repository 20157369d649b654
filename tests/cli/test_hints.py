"""Hints work: commands and options in them exist, and each hint is followed, or listed with the reason why it is not.

The hints are found in the syntax tree, so a new hint fails `test_every_hint_is_followed_or_listed` until it has a scenario
in `tests/support/hint_scenarios.py` or an entry in `tests/support/unfollowed_hints.py`.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from cli_runner import Result, RunCli
from hint_scenarios import FILES, LOCAL, WITH_SERVER, Scenario
from hint_templates import hints, pattern_of
from unfollowed_hints import UNFOLLOWED

from tfsctl.cli import _without_request_options, root_command
from tfsctl.cli.registry import COMMANDS
from tfsctl.engines.server_record import ServerRecord

COMMAND = re.compile(r"(?<![\w/.-])tfsctl ([a-z][a-z-]*)(?: ([a-z]+))?")
OPTION = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)(?![\w-]*_)")
# Words after "tfsctl" where it is the subject of a sentence.
VERBS = {"copies", "did", "does", "finds", "knows", "reads", "runs", "started", "takes"}
# Options in hints about other programs.
OTHER_PROGRAMS = {"append", "groups", "recursive", "force", "force-reinstall", "help", "upgrade", "user"}


def options_of(command: Any) -> set[str]:
    """The long options of a command, without dashes; of its subcommands too."""
    found = {name[2:] for one in command.params for name in (*one.opts, *one.secondary_opts) if name.startswith("--")}
    return found.union(*(options_of(one) for one in getattr(command, "commands", {}).values())) | {"help"}


ROOT_COMMAND: Any = root_command()
OPTIONS = {name: options_of(ROOT_COMMAND.get_command(None, name)) for name in COMMANDS}


def test_hints_are_found() -> None:
    """In every package that raises errors."""
    assert len(hints()) > 250
    assert {"cli", "clients", "core", "data", "diagnosis", "engines", "exporter", "inputs"} <= {
        place.split("/")[1] for place, _ in hints()
    }


def test_commands_in_hints_exist() -> None:
    """`tfsctl NAME` is a command."""
    wrong = [
        (place, text)
        for place, text in hints()
        for match in COMMAND.finditer(text)
        if match[1] not in {*COMMANDS, *VERBS}
    ]
    assert wrong == []


def test_options_in_hints_exist() -> None:
    """An option after `tfsctl NAME` is one of that command; any other is one of some command."""
    known = set().union(*OPTIONS.values()) | OTHER_PROGRAMS | options_of(ROOT_COMMAND)
    wrong = []
    for place, text in hints():
        for part in re.split(r"; |, or |, and |, then |\. | or ", text):
            match = next((one for one in COMMAND.finditer(part) if one[1] in COMMANDS), None)
            allowed = OPTIONS[match[1]] if match and "--server-arg" not in part else known
            wrong += [(place, text, name) for name in OPTION.findall(part) if name not in allowed]
    assert wrong == []


def test_every_hint_is_followed_or_listed() -> None:
    """A new hint needs a scenario, or an entry with its reason. Entries for hints that are gone are removed."""
    templates = {text for _, text in hints() if text}
    followed = {template for template, _, _ in (*WITH_SERVER, *LOCAL)}
    listed = [template for group in UNFOLLOWED.values() for template in group]
    places = {text: place for place, text in hints()}

    neither = sorted(templates - followed - set(listed))
    assert not neither, "\n".join(f"{places[template]}: {template!r}" for template in neither)
    assert followed - templates == set(), "scenarios for hints that are gone"
    assert set(listed) - templates == set(), "entries for hints that are gone"
    assert followed & set(listed) == set(), "hints that are followed need no entry"
    assert len(listed) == len(set(listed)), "entries that are listed twice"


@pytest.fixture
def workplace(tmp_path: Path, echo_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the files of the scenarios."""
    folder = tmp_path / "work"
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "echo").symlink_to(echo_dir)
    (folder / "models" / "twice").mkdir()
    for version in ("7", "8"):
        (folder / "models" / "twice" / version).symlink_to(echo_dir / "7")
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content.replace(b"%ECHO%", str(echo_dir).encode()))
    monkeypatch.chdir(folder)
    return folder


def run_line(run_cli: RunCli, line: str) -> Result:
    """Run a command line; text after ` <<< ` is its standard input."""
    words, has_stdin, stdin = line.partition(" <<< ")
    return run_cli(*shlex.split(words), stdin=stdin if has_stdin else None)


def hint_of(result: Result) -> str:
    """The hint on stderr."""
    return result.stderr.rpartition("hint: ")[2].strip()


def follow(run_cli: RunCli, scenario: Scenario, server: ServerRecord | None = None) -> None:
    """Run the first command line of a scenario, and the one that follows its hint."""
    template, refused_line, followed_line = scenario
    if server is not None:
        values = {"%HOST%": server.host, "%REST%": server.rest_port, "%GRPC%": server.grpc_port}
        for name, value in values.items():
            refused_line, followed_line = (line.replace(name, str(value)) for line in (refused_line, followed_line))
    refused = run_line(run_cli, refused_line)
    hint = hint_of(refused)
    assert refused.code != 0, refused
    assert pattern_of(template).fullmatch(hint), (template, refused.stderr)

    option = re.search(r"--[a-z-]+(?: (?!--)[^\s,;]+)?", hint)
    command = re.search(r"tfsctl ([^;,]+?)(?= lists|;|,|$)", hint)
    followed_line = (
        followed_line.replace("{hint}", hint)
        .replace("{option}", option[0] if option else "")
        .replace("{options}", hint.removeprefix("use "))
        .replace("{example}", hint.removeprefix("for example: "))
        .replace("{command}", command[1] if command else "")
    )
    result = run_line(run_cli, followed_line)
    assert result.code == 0, (refused.stderr, followed_line, result.stderr)


def name_of(scenario: object) -> str:
    """The command line that is refused, as the name of the test."""
    return scenario[1] if isinstance(scenario, tuple) else ""


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("scenario", WITH_SERVER, ids=name_of)
def test_hints_about_queries_are_followed(run_cli: RunCli, registered: ServerRecord, scenario: Scenario) -> None:
    """The command line that the hint leads to is answered."""
    follow(run_cli, scenario, registered)


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("scenario", LOCAL, ids=name_of)
def test_hints_without_a_server_are_followed(run_cli: RunCli, scenario: Scenario) -> None:
    """The command line that the hint leads to succeeds."""
    follow(run_cli, scenario)


def test_hints_name_no_option_of_requests_that_the_command_lacks(run_cli: RunCli) -> None:
    """`record` has no --port: the part of the hint that names it is left out."""
    assert hint_of(run_cli("record", "m", "--to", "recordings")) == "start one with tfsctl serve PATH"


def test_parts_of_hints_are_left_out_if_others_remain() -> None:
    """Hints of one part, and those about other commands, stay as they are."""
    both = "tfsctl status lists the loaded versions; without --version the latest is used"
    assert _without_request_options(both, {"--version"}) == both
    assert _without_request_options(both, {"--json"}) == "tfsctl status lists the loaded versions"
    for kept in "add --model NAME", "tfsctl wait m --timeout 9; tfsctl ps", "--models-of X; y", "--model_name=X; y":
        assert _without_request_options(kept, set()) == kept
