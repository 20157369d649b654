"""The command line is tensorflow_model_server's, manners included."""

from __future__ import annotations

import pytest

from tfsctl.server import flags


def test_defaults_are_the_real_servers() -> None:
    """Port 8500 for gRPC, REST off, one poll a second."""
    parsed = flags.parse([]).flags

    assert (parsed.port, parsed.rest_api_port, parsed.model_name) == (8500, 0, "default")
    assert (parsed.file_system_poll_wait_seconds, parsed.max_num_load_retries) == (1, 5)


def test_values_booleans_and_strangers() -> None:
    """`--name=value`, a bare boolean; anything else is an unknown argument, and the rest still counts."""
    parsed = flags.parse(["--port=9000", "--version", "--nope=1", "foo", "--model_name=a=b", "--rest_api_port", "1"])

    assert (parsed.flags.port, parsed.flags.version, parsed.flags.model_name) == (9000, True, "a=b")
    assert parsed.unknown == ("--nope=1", "foo", "--rest_api_port", "1")


@pytest.mark.parametrize("argument", ["--port=abc", "--port=1.5", "--port=", "--version=maybe"])
def test_a_value_that_is_none(argument: str) -> None:
    """The first value that cannot be read is named."""
    name, _, value = argument.removeprefix("--").partition("=")

    assert flags.parse([argument]).error == f"Couldn't interpret value {value} for flag {name}."


def test_usage_names_every_flag_with_its_default() -> None:
    """Quoted strings, plain numbers, as TensorFlow prints them."""
    lines = flags.usage().splitlines()

    assert lines[:2] == ["usage: tensorflow_model_server", "Flags:"]
    assert any(line.startswith("\t--port=8500 ") and "\tint32\t" in line for line in lines)
    assert any(line.startswith('\t--model_name="default"') for line in lines)
    assert any(
        line.startswith("\t--file_system_poll_wait_seconds=1 ") or "poll_wait_seconds=1\t" in line for line in lines
    )
