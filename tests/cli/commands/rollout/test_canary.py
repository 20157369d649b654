"""`tfsctl canary` and `tfsctl rollout`: wrong options, and no front."""

from __future__ import annotations

import pytest
from cli_runner import RunCli

from tfsctl.errors import ExitCode


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give --percent or --steps"),
        (("--percent", 5, "--steps", "1,2"), "give --percent or --steps"),
        (("--steps", "1,x"), "--steps 1,x are not numbers"),
        (("--steps", "5,1"), "--steps 5,1 do not increase"),
        (("--steps", "nan"), "--steps nan do not increase"),
        (("--steps", "1,200"), "--steps 1,200 do not increase"),
        (("--steps", "1,5", "--interval", "soon"), "--interval soon: not a duration"),
        (("--percent", 5, "--interval", "5m"), "--interval and --min-requests belong to --steps"),
        (("--percent", 5, "--sticky", "user id"), "is not the name of a header"),
        (("--percent", 5, "--sticky", "x-tfsctl-version"), "is not the name of a header"),
        (("--percent", 5, "--slow", "soon"), "--slow soon: neither a time nor a quantile"),
        (("--percent", 5, "--slow", "p50"), "--slow p50: the quantile is p90 to p99.9"),
        (("--percent", 5, "--min-agreement", "no"), "--min-agreement no: not a share"),
        (("--percent", 5, "--min-agreement", "100%"), "--min-agreement 100%: no test can prove that all agree"),
        (("--percent", 5, "--sample", "10%"), "--sample belongs to --min-agreement"),
        (("--percent", 5, "--on-change", "file:///tmp/x"), "--on-change file:///tmp/x is not a URL"),
    ],
)
def test_wrong_options_are_refused_before_a_server_is_looked_for(
    run_cli: RunCli, options: tuple[object, ...], message: str
) -> None:
    """The error names the option, before any server is looked for."""
    result = run_cli("canary", "m", "--version", 2, *options)

    assert result.code == ExitCode.USAGE
    assert message in result.stderr


@pytest.mark.parametrize("command", [("canary", "m", "--version", 2, "--percent", 5), ("rollout", "status", "m")])
def test_without_a_front_the_hint_starts_one(run_cli: RunCli, command: tuple[object, ...]) -> None:
    """The hint starts one."""
    result = run_cli(*command)

    assert result.code == ExitCode.NOT_FOUND
    assert "no front serves m" in result.stderr
    assert "tfsctl serve PATH --front" in result.stderr


def test_tensorflow_model_server_has_no_front(run_cli: RunCli, echo_dir: object) -> None:
    """A front stands before embedded servers or containers."""
    result = run_cli("serve", echo_dir, "--front", "--engine", "binary")

    assert result.code == ExitCode.USAGE
    assert "a front works with the engines embedded and docker, not with binary" in result.stderr
