"""Options of numbers refuse what is not finite, negative or too long to wait for, in every command."""

from __future__ import annotations

import re
from typing import Any

import pytest
from cli_runner import RunCli

from tfsctl.cli import root_command
from tfsctl.cli.registry import COMMANDS
from tfsctl.errors import ExitCode


def float_options() -> list[tuple[list[str], Any]]:
    """The words of each command, and each of its options of a float."""
    group: Any = root_command()
    found = []
    for name in COMMANDS:
        command = group.get_command(None, name)
        for child, one in getattr(command, "commands", {"": command}).items():
            options = [option for option in one.params if "float" in option.type.name]
            found += [([name, child] if child else [name], option) for option in options]
    return found


FLOAT_OPTIONS = float_options()


def test_options_are_found() -> None:
    """Timeouts, tolerances, shares."""
    names = {option.opts[0] for _, option in FLOAT_OPTIONS}
    assert {"--timeout", "--wait-timeout", "--keepalive", "--check-timeout", "--atol", "--alpha", "--speed"} <= names


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400", "-1", "-nan"])
def test_numbers_that_no_option_takes(run_cli: RunCli, value: str) -> None:
    """Each is a usage error that names the option."""
    for words, option in FLOAT_OPTIONS:
        if value == "-1" and getattr(option.type, "min", None) is None:
            continue  # `ab --missing` takes any finite number
        result = run_cli(*words, f"{option.opts[0]}={value}")

        assert result.code == ExitCode.USAGE, (words, option.opts)
        assert f"error: invalid value for {option.opts[0]}: " in result.stderr
        assert re.search("is not a (finite number|number (of at least|greater than|from) )", result.stderr), (
            result.stderr
        )


def test_a_time_that_is_too_long(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets and locks would refuse it later. A variable is checked as the option is."""
    result = run_cli("serve", "x", "--wait-timeout", "1e9")
    assert (result.code, "1e9 is more than 100000000 seconds" in result.stderr) == (ExitCode.USAGE, True)

    monkeypatch.setenv("TFSCTL_TIMEOUT", "inf")
    result = run_cli("status", "m")
    assert (result.code, "TFSCTL_TIMEOUT" in result.stderr) == (ExitCode.USAGE, True)
