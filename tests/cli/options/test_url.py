"""`--url`: gateways, and the URLs of models as people paste them."""

from __future__ import annotations

import pytest

from tfsctl.cli.options.target import Asked
from tfsctl.cli.options.url import with_url
from tfsctl.clients.connection import ClientTls, Connection
from tfsctl.errors import InvalidInput


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://gw", Asked(host="gw", port=80)),
        ("http://gw:8501/", Asked(host="gw", port=8501)),
        ("https://gw", Asked(host="gw", port=443, connection=Connection(tls=ClientTls()))),
        ("https://gw/a/b/", Asked(host="gw", port=443, connection=Connection(tls=ClientTls(), path="/a/b"))),
        ("http://[::1]:8501", Asked(host="::1", port=8501)),
        ("http://gw/v1/models/m", Asked(model="m", host="gw", port=80)),
        ("http://gw/v1/models/a%20b:predict", Asked(model="a b", host="gw", port=80)),
        ("http://gw/v1/models/m/metadata", Asked(model="m", host="gw", port=80)),
        ("http://gw/v1/models/m/versions/3", Asked(model="m", host="gw", port=80, version=3)),
        ("http://gw/x/v1/models/m/labels/l:classify", Asked(model="m", host="gw", port=80, label="l", connection=Connection(path="/x"))),
    ],
)  # fmt: skip
def test_a_url_says_where_and_what(url: str, expected: Asked) -> None:
    """Scheme, host, port and path of a gateway; model, version and label of a model."""
    assert with_url(Asked(), url) == expected


def test_what_else_was_asked_stays() -> None:
    """Certificates and versions given beside it."""
    tls = ClientTls(ca=None)
    asked = Asked(version=2, connection=Connection(tls=tls, compression="gzip"))
    found = with_url(asked, "http://gw/v1/models/m")
    assert (found.version, found.connection.tls, found.connection.compression) == (2, tls, "gzip")


@pytest.mark.parametrize(
    ("asked", "url", "words"),
    [
        (Asked(), "gw/models", "--url wants http:// or https:// and a host"),
        (Asked(), "ftp://gw", "--url wants http:// or https:// and a host"),
        (Asked(), "http://", "--url wants http:// or https:// and a host"),
        (Asked(), "http://gw:port", "--url is no URL"),
        (Asked(), "http://user:s3cret@gw", "--url holds a password"),
        (Asked(), "http://gw/?token=s3cret", "--url ends with its path"),
        (Asked(host="x"), "http://gw", "--url says host and port"),
        (Asked(model="n"), "http://gw/v1/models/m", "--url is about m, --model about n"),
    ],
)
def test_what_is_no_such_url_is_refused(asked: Asked, url: str, words: str) -> None:
    """In words that do not repeat a password."""
    with pytest.raises(InvalidInput, match=words) as caught:
        with_url(asked, url)
    assert "s3cret" not in caught.value.message + caught.value.hint
