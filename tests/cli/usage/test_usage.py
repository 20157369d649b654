"""Help and usage errors: headings, defaults, `help COMMAND`, what was probably meant, and colours."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cli_runner import RunCli

from tfsctl.cli import root_command
from tfsctl.cli.registry import COMMANDS, GROUPS
from tfsctl.cli.usage.help_format import GroupedCommand
from tfsctl.cli.usage.usage_errors import ALIASES
from tfsctl.engines.launch_spec import _CONTAINER_FLAGS


def leaves() -> dict[str, object]:
    """Every command that has options, by its path."""
    group = root_command()
    found: dict[str, object] = {}
    for name in COMMANDS:
        command = group.get_command(None, name)  # type: ignore[attr-defined] # it is a group
        for child, one in getattr(command, "commands", {"": command}).items():
            found[f"{name} {child}".strip()] = one
    return found


@pytest.mark.parametrize("path", leaves())
def test_every_command_groups_its_options(path: str) -> None:
    """A new command, or one within a group, uses the class that prints headings."""
    assert isinstance(leaves()[path], GroupedCommand)


def test_options_stand_under_headings_in_order(run_cli: RunCli) -> None:
    """The options of `predict` stand under headings, in order."""
    shown = run_cli("predict", "--help").stdout

    assert re.findall(r"^(\w+):$", shown, re.MULTILINE) == [
        "Arguments",
        "Input",
        "Output",
        "Files",
        "Server",
        "TLS",
        "Other",
    ]
    assert "(default: 60). [env: TFSCTL_TIMEOUT]" in " ".join(shown.split())


def test_options_of_containers_stand_under_docker(run_cli: RunCli) -> None:
    """What only works with containers is under "Docker", and nothing else is."""
    shown = run_cli("serve", "--help").stdout
    docker = shown.split("\nDocker:\n")[1].split("\n\n")[0]
    listed = set(re.findall(r"^ +(?:-\w, )?(--[\w-]+)", docker, re.MULTILINE))

    assert listed == {*_CONTAINER_FLAGS.values(), "--tag"}


def test_help_of_a_command(run_cli: RunCli) -> None:
    """`help` alone, and with a command or a command within a group."""
    assert run_cli("help").stdout == run_cli("--help").stdout
    assert run_cli("help", "stop").stdout == run_cli("stop", "--help").stdout
    assert "image build" in run_cli("help", "image", "build").stdout
    assert run_cli("help", "nothing").code == 2


def test_commands_are_listed_by_group(run_cli: RunCli) -> None:
    """Each command is under the heading of its group."""
    shown = run_cli("--help").stdout

    assert {one.folder for one in COMMANDS.values()} == set(GROUPS)
    for name, one in COMMANDS.items():
        section = shown.split(f"\n{GROUPS[one.folder]}:\n")[1].split("\n\n")[0]
        assert re.search(rf"^  {name} +{re.escape(one.summary)}$", section, re.MULTILINE)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["list"], ["there is no command 'list'", "did you mean tfsctl ps?"]),
        (["rm", "x"], ["there is no command 'rm'", "did you mean tfsctl stop?"]),
        (["predcit"], ["there is no command 'predcit'", "did you mean tfsctl predict?"]),
        (["xyzzy"], ["there is no command 'xyzzy'", "tfsctl --help"]),
        (["predict", "--jsn"], ["unknown option --jsn", "did you mean --json?"]),
        (["serve", "--rest_api_port=1"], ["unknown option --rest_api_port", "did you mean --rest-port?"]),
        (["serve", "--model_config_file=x"], ["unknown option --model_config_file", "did you mean --config?"]),
        (["stop", "--al"], ["unknown option --al", "did you mean --all?"]),
        (["logs", "--xyzzy"], ["unknown option --xyzzy", "tfsctl logs --help"]),
        (["status", "a", "b"], ["unexpected argument: b", "tfsctl status --help"]),
        (["repl", "house"], ["unexpected argument: house", "did you mean --model house?"]),
        (["repl", "a", "b"], ["unexpected argument: a b", "tfsctl repl --help"]),
        (
            ["serve", "--rest-port", "x"],
            ["--rest-port: 'x' is not a whole number from 0 to 65535", "tfsctl serve --help"],
        ),
        (
            ["logs", "-n", "-1"],
            ["invalid value for --tail: -1 is not a whole number of at least 0", "tfsctl logs --help"],
        ),
        (["status", "--timeout", "0"], ["--timeout: 0 is not a number of at least 0.001", "tfsctl status --help"]),
        (["canary", "m", "--percent", "x"], ["'x' is not a number from 0.01 to 100", "tfsctl canary --help"]),
        (["export", "x.py", "--version", "x"], ["--version: 'x' is not a whole number", "tfsctl export --help"]),
        (["serve", "m", "--engine", "dokcer"], ["--engine: 'dokcer' is not one of", "did you mean 'docker'?"]),
        (["predict", "--format", "cvs"], ["--format: 'cvs' is not one of", "did you mean 'csv'?"]),
        (["serve", "m", "--version", "3"], ["unknown option --version", "--model NAME=PATH,versions=VERSION"]),
        (["versions", "--keep", "3"], ["has no option --keep", "did you mean tfsctl versions prune … --keep?"]),
        (["logs", "--tail"], ["option '--tail' requires an argument", "tfsctl logs --help"]),
        (["image", "bild"], ["tfsctl image has no command 'bild'", "did you mean tfsctl image build?"]),
        (["image", "push"], ["tfsctl image has no command 'push'", "tfsctl image --help"]),
    ],
)
def test_usage_errors_have_a_hint_and_exit_code_2(typed: list[str], words: list[str], run_cli: RunCli) -> None:
    """Every usage error is an `error:` line and a `hint:` line, and ends with 2."""
    shown = run_cli(*typed)
    lines = shown.stderr.splitlines()

    assert (shown.code, shown.stdout, len(lines)) == (2, "", 2)
    assert lines[0].startswith("error: ")
    assert lines[1].startswith("hint: ")
    for one in words:
        assert one.lower() in shown.stderr.lower()


def test_a_wrong_variable_is_named(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A value from the environment is an error of its variable, not of the option."""
    monkeypatch.setenv("TFSCTL_REST_PORT", "70000")

    assert run_cli("serve", "m").stderr.splitlines()[0] == (
        "error: invalid value for TFSCTL_REST_PORT: 70000 is not a whole number from 0 to 65535"
    )


def test_a_flag_in_a_variable_is_true_or_false(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Click lists every word that it takes, the empty one too."""
    monkeypatch.setenv("TFSCTL_GRPC", "maybe")

    assert run_cli("status", "m").stderr.splitlines()[0] == (
        "error: invalid value for TFSCTL_GRPC: 'maybe' is not 1, 0, true or false"
    )


def test_a_working_directory_that_was_removed(run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths have no meaning there."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()

    refused = run_cli("serve", "m")
    assert (refused.stdout, refused.code) == ("", 1)
    assert refused.stderr == "error: the working directory no longer exists\nhint: cd to another directory\n"


def test_aliases_lead_to_commands() -> None:
    """No alias is a command of its own."""
    assert not ALIASES.keys() & COMMANDS.keys()


@pytest.mark.parametrize(
    ("variables", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_errors_are_coloured_on_a_terminal(
    variables: dict[str, str], is_coloured: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`error:` is red on a terminal that takes colours."""
    from tfsctl.cli.output import terminal
    from tfsctl.errors import TfsctlError

    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    terminal.report_error(TfsctlError("it is broken", hint="mend it"))

    assert ("\x1b[1;31merror:\x1b[0m it is broken" in capsys.readouterr().err) is is_coloured
