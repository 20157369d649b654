"""The rule for names that tfsctl gives to models and servers."""

from __future__ import annotations

import pytest

from tfsctl.errors import InvalidInput
from tfsctl.serving_config.model_name import check_name, valid_name


@pytest.mark.parametrize("name", ["reviews", "amazon_review", "a.b-c_2", "_x", "2024"])
def test_names_of_letters_digits_and_a_few_signs_are_valid(name: str) -> None:
    """Letters, digits, `_`, `-` and `.`."""
    assert check_name(name) == valid_name(name) == name


@pytest.mark.parametrize(
    ("name", "similar"),
    [
        *(("", "model"), (".", "model"), ("..", "model"), (".hidden", "hidden"), ("-x", "x"), ("a/b", "a_b")),
        *(("m:1", "m_1"), ("my model", "my_model"), ("a%20b", "a_20b"), ("größe", "gr_e"), ("a\n", "a"), ("$a", "a")),
    ],
)
def test_a_name_that_a_url_or_shell_would_not_take_is_refused(name: str, similar: str) -> None:
    """A name that a URL, a shell or a directory would not take is refused. The hint has a valid one."""
    with pytest.raises(InvalidInput, match="cannot be a model name") as refusal:
        check_name(name)

    assert refusal.value.hint == f"--name {similar}"
    assert check_name(similar) == similar


def test_a_name_leaves_room_in_the_names_of_files() -> None:
    """Files of a server have its name, and something before or after it."""
    with pytest.raises(InvalidInput, match="has 201 characters, and at most 200 are allowed"):
        check_name("a" * 201)
    assert check_name(valid_name("a" * 300)) == "a" * 200
