"""Fields of text protobufs are found at their places."""

from __future__ import annotations

import pytest

from tfsctl.lint.text_fields import parse_fields

TEXT = """# a comment { with signs
model_config_list: {
  config <
    name: "a" 'b'  # the end
    versions: [1, 2]; versions: -3,
  >
}
"""


def test_fields_have_lines_and_columns() -> None:
    """Lines and columns count from 1; each value of a list has its own."""
    root = parse_fields(TEXT)
    assert root is not None
    config = root.first("model_config_list", "config")
    assert config is not None
    name = config.first("name")
    assert name is not None

    assert (config.line, config.column, config.is_message) == (3, 3, True)
    assert (name.text, name.line, name.column) == ("ab", 4, 5)
    assert [(one.text, one.line, one.column) for one in config.all("versions")] == [
        ("1", 5, 16),
        ("2", 5, 19),
        ("-3", 5, 23),
    ]


@pytest.mark.parametrize("text", ["a {", "a: ]", "{", 'a: "unfinished', "a: [1", "[x", "a {" * 100])
def test_broken_texts_have_no_fields(text: str) -> None:
    """Protobuf's own parser tells what is wrong with them."""
    assert parse_fields(text) is None
