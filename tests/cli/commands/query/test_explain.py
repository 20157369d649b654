"""`tfsctl explain`: pasted errors and logs."""

from __future__ import annotations

import json

from cli_runner import RunCli

LOG = """\
I server_core.cc] Adding/updating models.
E file_system_storage_path_source.cc] FileSystemStoragePathSource encountered a filesystem access error: \
Could not find base path /models/x for servable x with error NOT_FOUND: /models/x not found
E file_system_storage_path_source.cc] FileSystemStoragePathSource encountered a filesystem access error: \
Could not find base path /models/x for servable x with error NOT_FOUND: /models/x not found
unknown argument: --nope=1
"""


def test_explain_a_pasted_error(run_cli: RunCli) -> None:
    """Prints the known sentence, its cause and a hint."""
    result = run_cli("explain", "Servable not found", "for request: Latest(m)")
    assert (result.stderr, result.code) == ("", 0)
    assert result.stdout == (
        "Servable not found for request: Latest(m)\n"
        "  cause: the server has no model of that name, or has not loaded a version of it yet\n"
        "  hint: tfsctl ps lists the servers and their models; --model NAME chooses one\n"
    )


def test_explain_a_log(run_cli: RunCli) -> None:
    """Each known line is explained once, however often it occurs."""
    result = run_cli("explain", "--json", stdin=LOG)
    words = [entry["words"] for entry in json.loads(result.stdout)["explanations"]]
    assert words == ["Could not find base path /models/x for servable x", "unknown argument: --nope=1"]


def test_explain_an_unknown_error(run_cli: RunCli) -> None:
    """An error in text mode, an empty list with --json."""
    result = run_cli("explain", stdin="all is well\n")
    assert (result.stdout, result.code) == ("", 4)
    assert result.stderr.startswith("error: the text contains no error that tfsctl knows\nhint: ")
    assert json.loads(run_cli("explain", "--json", "all is well").stdout) == {"explanations": []}


def test_explain_without_text(run_cli: RunCli) -> None:
    """On a terminal, the command does not wait for stdin."""
    result = run_cli("explain")
    assert result.code == 2
    assert result.stderr == 'error: nothing to explain\nhint: run tfsctl explain "ERROR", or pipe a log into it\n'
