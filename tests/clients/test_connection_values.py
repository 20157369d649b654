"""Headers and proxies as they are typed."""

from __future__ import annotations

import pytest

from tfsctl.clients.connection import Connection, Header
from tfsctl.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [("x-a: b", "x-a", "b"), ("x-a:b:c d", "x-a", "b:c d"), ("x-a:", "x-a", "")],
)
def test_a_header_is_a_name_and_a_value(text: str, name: str, value: str) -> None:
    """As curl takes them."""
    header = Header.parse(text)
    assert (header.name, header.value) == (name, value)


@pytest.mark.parametrize(
    ("text", "value", "before"), [("a=TOKEN", "s3cret", ""), ("a=Bearer TOKEN", "Bearer s3cret", "Bearer ")]
)
def test_a_header_from_a_variable(text: str, value: str, before: str) -> None:
    """The whole value, or what follows the name of a scheme; never part of how it is shown."""
    header = Header.from_environment(text, {"TOKEN": "s3cret\n"})
    assert (header.value, header.variable, header.prefix) == (value, "TOKEN", before)
    assert "s3cret" not in repr(header)
    assert "s3cret" not in repr(Connection(headers=(header,)))


@pytest.mark.parametrize("text", ["s3cret", "na me: s3cret", ": s3cret", "x: s3cret\r\ny: z", "x: s3crét"])
def test_invalid_headers_are_refused_without_their_value(text: str) -> None:
    """Before it is sent, and without its value."""
    with pytest.raises(InvalidInput) as caught:
        Header.parse(text)
    assert "s3cr" not in caught.value.message


@pytest.mark.parametrize("text", ["authorization", "a=", "a=1x", "a=NOT_SET", "na me=TOKEN", "a=LINES"])
def test_a_header_from_a_variable_needs_a_variable_of_one_line(text: str) -> None:
    """A name, an equals sign and a variable that is set to one line."""
    with pytest.raises(InvalidInput):
        Header.from_environment(text, {"TOKEN": "x", "LINES": "a\nb"})


@pytest.mark.parametrize("url", ["", "proxy:3128", "user:s3cret@proxy", "socks5://proxy:1080", "http://", "http://p:x"])
def test_invalid_proxies_are_refused_without_their_password(url: str) -> None:
    """Without its password."""
    with pytest.raises(InvalidInput) as caught:
        Connection(proxy=url)
    assert "s3cret" not in caught.value.message


def test_a_proxy_is_named_without_its_password() -> None:
    """In errors, and in how the value is shown."""
    connection = Connection(proxy="http://user:s3cret@proxy:3128")
    assert connection.proxy_address == "proxy:3128"
    assert "s3cret" not in repr(connection)
