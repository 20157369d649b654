"""How hosts are written, and which hosts are this machine."""

from __future__ import annotations

import pytest

from tfsctl.clients import addresses
from tfsctl.errors import InvalidInput


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", "localhost:8501"),
        ("::1", "[::1]:8501"),
        ("[::1]", "[::1]:8501"),
        ("10.0.0.1", "10.0.0.1:8501"),
        ("fe80::1%eth0", "[fe80::1%eth0]:8501"),
        ("example.com.", "example.com.:8501"),
        ("my_service.default", "my_service.default:8501"),
        ("bücher.example", "bücher.example:8501"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example:8501"),
        ("dns:///example.com:8500", "dns:///example.com:8500"),
        ("unix:///run/serving", "unix:///run/serving"),
    ],
)
def test_addresses_are_formatted_as_in_urls(host: str, expected: str) -> None:
    """IPv6 addresses get brackets, once. Names for gRPC already include the port."""
    assert addresses.format_address(host, 8501) == expected


@pytest.mark.parametrize("host", ["", "http://localhost", "a b", "localhost/v1", "user@host", "a?b", "a#b"])
def test_a_url_is_refused_as_a_host(host: str) -> None:
    """A URL as the host would connect to the wrong place without an error."""
    with pytest.raises(InvalidInput, match="is not a host name or address"):
        addresses.format_address(host, 8501)


@pytest.mark.parametrize(
    "host",
    [
        *("a..b", ".com", "ü..x", "xn--zz", "xn--.example", "a" * 64 + ".com", ("a" * 60 + ".") * 5),
        *("127.0.0.1:", "127.0.0.1:port", "[::1", "::1]", "[localhost]", "999.1.1.1", "a\\b"),
    ],
)
def test_text_that_cannot_be_looked_up_is_refused_as_a_host(host: str) -> None:
    """Libraries raise UnicodeError for some of these, and take others for something else."""
    with pytest.raises(InvalidInput, match="is not a host name or address"):
        addresses.format_address(host, 8501)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "a.localhost", "127.0.0.1", "127.1", "::1", "[::1]", "0.0.0.0"]
)
def test_this_machine_is_local(host: str) -> None:
    """Every way to write this machine is known, so that no proxy is used."""
    assert addresses.is_local(host)


@pytest.mark.parametrize("host", ["example.com", "10.0.0.1", "localhost.example.com", "2001:db8::1"])
def test_other_machines_are_not_local(host: str) -> None:
    """A name that only looks like localhost is another machine."""
    assert not addresses.is_local(host)
