"""The command line is parsed like that of tensorflow_model_server."""

from __future__ import annotations

import pytest

from tfsctl.server.config import command_line
from tfsctl.server.config.flags import WITHOUT_EFFECT


def test_defaults_are_those_of_the_real_server() -> None:
    """Port 8500 for gRPC, no REST, one poll each second."""
    parsed = command_line.parse([]).flags

    assert (parsed.port, parsed.rest_api_port, parsed.model_name) == (8500, 0, "default")
    assert (parsed.file_system_poll_wait_seconds, parsed.max_num_load_retries) == (1, 5)


def test_values_booleans_and_unknown_arguments_are_parsed() -> None:
    """`--name=value`, and a boolean without a value.

    Anything else is an unknown argument, and the rest is still parsed.
    """
    parsed = command_line.parse(
        ["--port=9000", "--version", "--nope=1", "foo", "--model_name=a=b", "--rest_api_port", "1"]
    )

    assert (parsed.flags.port, parsed.flags.version, parsed.flags.model_name) == (9000, True, "a=b")
    assert parsed.unknown == ("--nope=1", "foo", "--rest_api_port", "1")


@pytest.mark.parametrize(
    "argument",
    [
        *("--port=abc", "--port=1.5", "--port=", "--version=maybe", "--port=2147483648", "--port=1e3"),
        *("--load_retry_interval_micros=9223372036854775808", "--per_process_gpu_memory_fraction=half"),
    ],
)
def test_the_first_invalid_value_is_named(argument: str) -> None:
    """The first value that cannot be read is named."""
    name, _, value = argument.removeprefix("--").partition("=")

    assert command_line.parse([argument]).error == f"Couldn't interpret value {value} for flag {name}."


def test_usage_names_every_flag_with_its_default() -> None:
    """Quoted strings and plain numbers, as TensorFlow prints them."""
    lines = command_line.usage().splitlines()

    assert lines[:2] == ["usage: tensorflow_model_server", "Flags:"]
    assert any(line.startswith("\t--port=8500 ") and "\tint32\t" in line for line in lines)
    assert any(line.startswith('\t--model_name="default"') for line in lines)
    assert any(
        line.startswith("\t--file_system_poll_wait_seconds=1 ") or "poll_wait_seconds=1\t" in line for line in lines
    )


def test_numbers_have_the_real_servers_ranges() -> None:
    """32 bits for most, 64 bits for microseconds, and fractions for floats; a negative retry interval is allowed."""
    parsed = command_line.parse(
        [
            "--load_retry_interval_micros=-9223372036854775808",
            "--per_process_gpu_memory_fraction=.25",
            "--port=2147483647",
        ]
    ).flags

    assert parsed.load_retry_interval_micros == -(2**63)
    assert (parsed.per_process_gpu_memory_fraction, parsed.port) == (0.25, 2**31 - 1)


def test_flags_that_are_set_to_their_default_count_as_set() -> None:
    """Even where it is the default."""
    assert command_line.parse(["--port=8500", "--enable_batching", "--nope=1"]).set_flags == ("port", "enable_batching")


def test_flags_without_effect_are_in_the_usage() -> None:
    """Each is named in the usage text."""
    names = {line.partition("=")[0].strip() for line in command_line.usage().splitlines()[2:]}

    assert {f"--{name}" for name in WITHOUT_EFFECT} <= names
