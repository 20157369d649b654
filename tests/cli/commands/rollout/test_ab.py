"""`tfsctl ab`: wrong options."""

from __future__ import annotations

import pytest
from cli_runner import RunCli

from tfsctl.errors import ExitCode


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("1=50",), "an A/B test has two versions, not 1"),
        (("1=50", "2=0"), "2=0 is not VERSION=WEIGHT"),
        (("1=50", "2=x"), "2=x is not VERSION=WEIGHT"),
        (("1=50", "2=50", "--sticky", "user id"), "--sticky 'user id' is not the name of a header"),
        (("1=50", "2=50", "--sticky", "X-Tfsctl-Version"), "is not the name of a header"),
        (("1=50", "2=50", "--stop"), "weights start an A/B test"),
        (("other",), "other is not VERSION=WEIGHT"),
        (("--missing", 0), "--key, --outcome and --missing belong to --outcomes"),
        (("--sticky", "user-id"), "--sticky needs the weights of two versions"),
    ],
)
def test_wrong_options_are_refused_before_a_server_is_looked_for(
    run_cli: RunCli, options: tuple[object, ...], message: str
) -> None:
    """The error names the option, before any server is looked for."""
    result = run_cli("ab", "m", *options)

    assert result.code == ExitCode.USAGE
    assert message in result.stderr
