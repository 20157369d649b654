"""`tfsctl shadow`: wrong options, and no front."""

from __future__ import annotations

import pytest
from cli_runner import RunCli

from tfsctl.errors import ExitCode


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--sample", "10%"), "--sample belongs to --version"),
        (("--version", 2, "--sample", "11"), "--sample 11: not a share"),
        (("--version", 2, "--stop"), "--stop is about a running shadow"),
        (("--version", 2, "--fail-if", "agreement<1"), "--fail-if is about a running shadow"),
        (("--version", 2, "--html", "x.html"), "--html is about a running shadow"),
        (("--fail-if", "agreement"), "--fail-if 'agreement' is not a threshold"),
        (("--html", "/nowhere/x.html"), "there is no directory /nowhere for x.html"),
    ],
)
def test_wrong_options_are_refused_before_a_server_is_looked_for(
    run_cli: RunCli, options: tuple[object, ...], message: str
) -> None:
    """The error names the option, before any server is looked for."""
    result = run_cli("shadow", "m", *options)

    assert result.code == ExitCode.USAGE
    assert message in result.stderr


@pytest.mark.parametrize("options", [(), ("--stop",), ("--version", 2)])
def test_without_a_front_the_hint_starts_one(run_cli: RunCli, options: tuple[object, ...]) -> None:
    """The hint starts one."""
    result = run_cli("shadow", "m", *options)

    assert result.code == ExitCode.NOT_FOUND
    assert "no front serves m" in result.stderr
    assert "tfsctl serve PATH --front" in result.stderr
