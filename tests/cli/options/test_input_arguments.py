"""Command lines of `predict`, `classify`, `regress` and `explain`: text that begins with `-`, and unknown options."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_runner import RunCli


@pytest.mark.parametrize(
    ("typed", "error", "hint"),
    [
        (["-hello there"], "unknown option -e (in '-hello there')", "put -- before text that begins with -: tfsctl … -- '-hello there'"),
        (["--great"], "unknown option --great", "put -- before text that begins with -: tfsctl … -- --great"),
        (["--great=3 stars"], "unknown option --great", "put -- before text that begins with -: tfsctl … -- '--great=3 stars'"),
        (["--modle", "x", "great"], "unknown option --modle", "did you mean --model?"),
        (["--model_name=x", "great"], "unknown option --model_name", "did you mean --model?"),
        (["--model-version", "3", "great"], "unknown option --model-version", "did you mean --version?"),
        (["--rest-api-port", "1", "great"], "unknown option --rest-api-port", "did you mean --port?"),
        (["--max_answer", "1K", "great"], "unknown option --max_answer", "did you mean --max-answer?"),
        (["--batch", "1", "great"], "unknown option --batch", "did you mean --batch-size?"),
        (["--sigature=x", "great"], "unknown option --sigature", "did you mean --signature?"),
    ],
)  # fmt: skip
def test_unknown_options_may_be_text(run_cli: RunCli, typed: list[str], error: str, hint: str) -> None:
    """The hint is the option that was meant, or `--` for text."""
    result = run_cli("predict", "--model", "m", "--port", "1", *typed)
    assert (result.stdout, result.stderr, result.code) == ("", f"error: {error}\nhint: {hint}\n", 2)


def test_text_after_two_dashes_is_taken(run_cli: RunCli) -> None:
    """The command of the hint works: the error is explained."""
    refused = run_cli("explain", "--No versions of servable m found under base path /m")
    assert refused.code == 2
    assert "put -- before text" in refused.stderr
    assert run_cli("explain", "--", "--No versions of servable m found under base path /m").code == 0


@pytest.mark.parametrize("argv", [["-v", "metadata", "nowhere"], ["metadata", "nowhere", "-v"], ["metadata", "nowhere", "--verbose"], ["image", "build", "nowhere", "-v"]])  # fmt: skip
def test_verbose_before_and_after_the_command(run_cli: RunCli, argv: list[str]) -> None:
    """The traceback comes before the error."""
    result = run_cli(*argv)
    assert result.stderr.startswith("Traceback (most recent call last):")
    assert "\nerror: no such directory: " in result.stderr
    assert "Traceback" not in run_cli("metadata", "nowhere").stderr


@pytest.mark.parametrize(
    "argv",
    [
        ["predict", "--file", "nowhere.csv", "--model", "m", "--port", "1"],
        ["predict", "--labels", "nowhere", "x"],
        ["predict", "--ca", "nowhere", "--model", "m", "--port", "1", "x"],
        ["classify", "-i", "x=@nowhere"],
        ["metadata", "nowhere"],
        ["sample", "./nowhere"],
        ["export", "nowhere.py"],
        ["export", "nowhere.keras"],
        ["serve", "nowhere"],
        ["serve", "--config", "nowhere"],
        ["serve", "{model}", "--engine", "embedded", "--batching-file", "nowhere"],
        ["serve", "{model}", "--engine", "embedded", "--ssl-cert", "nowhere", "--ssl-key", "nowhere"],
        ["run", "nowhere"],
        ["compose", "nowhere"],
        ["image", "build", "nowhere"],
    ],
    ids=lambda argv: " ".join(argv[:4]),
)
def test_a_missing_file_is_not_found(run_cli: RunCli, argv: list[str], echo_dir: object) -> None:
    """Exit code 4, whatever the option."""
    result = run_cli(*(arg.format(model=echo_dir) for arg in argv))
    assert result.code == 4, result.stderr
    assert "nowhere" in result.stderr


@pytest.mark.parametrize("url", ["s3://bucket/m", "gs://bucket/m", "https://host/m"])
@pytest.mark.parametrize(
    "command",
    ["export", "lint", "metadata", "models", "sample", "serve", "verify", "versions", "versions rm", "warmup"],
)
def test_a_url_in_place_of_a_path_is_explained(run_cli: RunCli, command: str, url: str) -> None:
    """It is printed as it was typed, in every command."""
    result = run_cli(*command.split(), url, *(["1"] if command == "versions rm" else []))
    assert result.stderr.startswith(f"error: {url} is not a directory of this machine\nhint: copy the model "), result
    assert result.code == 2


def test_a_file_url_is_a_path(run_cli: RunCli, echo_dir: Path) -> None:
    """In every command that takes a path, with or without a host."""
    for command in ("lint", "metadata", "versions", "models"):
        for url in (f"file://{echo_dir}", f"file:{echo_dir}"):
            assert run_cli(command, url).code == 0, (command, url)
    assert run_cli("metadata", f"file://localhost{echo_dir}").code == 0


@pytest.mark.parametrize(
    ("host", "error", "hint"),
    [
        ("127.0.0.1:23011", "--host 127.0.0.1:23011 contains a port", "use --host 127.0.0.1 --port 23011"),
        ("[::1]:8501", "--host [::1]:8501 contains a port", "use --host '[::1]' --port 8501"),
        ("http://localhost:8501", "--host takes a host name, not a URL", "use --url http://localhost:8501"),
        (
            "127.0.0.1:99999",
            "--host 127.0.0.1:99999 contains a port",
            "use --host 127.0.0.1 --port PORT, from 1 to 65535",
        ),
        (
            "localhost:8501/v1/models/m",
            "--host takes a host name, not a URL",
            "use --url http://localhost:8501/v1/models/m",
        ),
        ("http://user:secret@h", "--host takes a host name, not a URL", "give --host NAME and --port PORT"),
        ("http://", "--host takes a host name, not a URL", "give --host NAME and --port PORT"),
        ("", "--host is empty", "give --host NAME"),
        ("a..b", "'a..b' is not a host name or address", "give --host NAME and --port PORT, or --url URL"),
        ("127.0.0.1:", "'127.0.0.1:' is not a host name or address", "give --host NAME and --port PORT, or --url URL"),
    ],
)
def test_a_host_with_a_port_is_split(run_cli: RunCli, host: str, error: str, hint: str) -> None:
    """The hint has the options to give instead."""
    result = run_cli("status", "m", "--host", host)
    assert (result.stderr, result.code) == (f"error: {error}\nhint: {hint}\n", 2)
