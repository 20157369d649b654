"""`--url`: gateways, and the URLs of models as people paste them."""

from __future__ import annotations

import pytest

from tfsctl.cli.options.server_options import ServerOptions
from tfsctl.clients.connection import ClientTls, Connection
from tfsctl.errors import InvalidInput


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://gw", ServerOptions(host="gw", port=80)),
        ("http://gw:8501/", ServerOptions(host="gw", port=8501)),
        ("https://gw", ServerOptions(host="gw", port=443, connection=Connection(tls=ClientTls()))),
        ("https://gw/a/b/", ServerOptions(host="gw", port=443, connection=Connection(tls=ClientTls(), path="/a/b"))),
        ("http://[::1]:8501", ServerOptions(host="::1", port=8501)),
        ("http://gw/v1/models/m", ServerOptions(model="m", host="gw", port=80)),
        ("http://gw/v1/models/a%20b:predict", ServerOptions(model="a b", host="gw", port=80)),
        ("http://gw/v1/models/m/metadata", ServerOptions(model="m", host="gw", port=80)),
        ("http://gw/v1/models/m/versions/3", ServerOptions(model="m", host="gw", port=80, version=3)),
        ("http://gw/x/v1/models/m/labels/l:classify", ServerOptions(model="m", host="gw", port=80, label="l", connection=Connection(path="/x"))),
    ],
)  # fmt: skip
def test_url_sets_address_and_model(url: str, expected: ServerOptions) -> None:
    """Scheme, host, port and path of a gateway; model, version and label of a model."""
    assert ServerOptions().with_url(url) == expected


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("localhost:8501", "--url http://localhost:8501"),
        ("10.0.0.1:8501/v1/models/m:predict", "--url http://10.0.0.1:8501/v1/models/m:predict"),
        ("user:s3cret@gw:80", "--url https://gateway/models"),
        ("gw", "--url https://gateway/models"),
        ("grpc://gw:8500", "--grpc --host gw --port 8500"),
        ("grpcs://gw/", "--grpc --tls --host gw --port 8500"),
        ("grpc://user:s3cret@gw", "--url https://gateway/models"),
    ],
)
def test_the_hint_for_a_wrong_url_has_its_address(url: str, hint: str) -> None:
    """The scheme is missing, or it is that of gRPC."""
    with pytest.raises(InvalidInput) as refused:
        ServerOptions().with_url(url)
    assert refused.value.hint == hint


def test_url_keeps_other_options() -> None:
    """Certificates, compression and version given by other options."""
    tls = ClientTls(ca=None)
    options = ServerOptions(version=2, connection=Connection(tls=tls, compression="gzip"))
    found = options.with_url("http://gw/v1/models/m")
    assert (found.version, found.connection.tls, found.connection.compression) == (2, tls, "gzip")


@pytest.mark.parametrize(
    ("options", "url", "words"),
    [
        (ServerOptions(), "gw/models", "--url must begin with http:// or https:// and a host"),
        (ServerOptions(), "ftp://gw", "--url must begin with http:// or https:// and a host"),
        (ServerOptions(), "http://", "--url must begin with http:// or https:// and a host"),
        (ServerOptions(), "http://gw:port", "--url is not a valid URL"),
        (ServerOptions(), "http://user:s3cret@gw", "--url contains a password"),
        (ServerOptions(), "http://gw/?token=s3cret", "--url must not contain \\? or #"),
        (ServerOptions(host="x"), "http://gw", "--url contains the host and the port"),
        (ServerOptions(model="n"), "http://gw/v1/models/m", "--url names the model m, --model names n"),
    ],
)
def test_invalid_urls_are_refused(options: ServerOptions, url: str, words: str) -> None:
    """The message does not repeat a password."""
    with pytest.raises(InvalidInput, match=words) as caught:
        options.with_url(url)
    assert "s3cret" not in caught.value.message + caught.value.hint
