"""`--arg` of a Python file: arguments of the function, or of the file's command line."""

from __future__ import annotations

import pytest

from tfsctl.exporter.sources.source_arguments import split_arguments

CODE = """
def build_model(depth, name: str = "net", *, rate: float = 0.1, wide=False): ...
def other(width): ...
"""


@pytest.mark.parametrize(
    ("texts", "keywords", "command_line"),
    [
        ([], {}, []),
        (["depth=3"], {"depth": 3}, []),
        (["depth=[1, 2]"], {"depth": [1, 2]}, []),
        (["depth=auto"], {"depth": "auto"}, []),
        (["name=3"], {"name": "3"}, []),
        (["rate=1"], {"rate": 1.0}, []),
        (["wide=true"], {"wide": True}, []),
        (["name=a=b"], {"name": "a=b"}, []),
        (["width=3", "data-dir=/tmp"], {}, ["--width=3", "--data-dir=/tmp"]),
        (["train.csv", "--verbose", "-x=1"], {}, ["train.csv", "--verbose", "-x=1"]),
    ],
)
def test_arguments_are_split_between_the_function_and_sys_argv(
    texts: list[str], keywords: dict[str, object], command_line: list[str]
) -> None:
    """A parameter of the function takes its argument as a Python literal or text; the rest is for sys.argv."""
    assert split_arguments(texts, CODE, "build_model") == (keywords, command_line)


def test_unparsable_file_is_left_to_the_error_of_running_it() -> None:
    """Running the file reports the error."""
    assert split_arguments(["a=1"], "def (", "build_model") == ({}, ["--a=1"])
