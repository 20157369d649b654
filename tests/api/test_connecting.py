"""`connect` without an address finds the running server that tfsctl started."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from secure_servers import secure_server

import tfsctl
from tfsctl.engines.registry import records
from tfsctl.engines.server_record import ServerRecord

HERE = ServerRecord("here", "embedded", "127.0.0.1", 9501, 9500, ("m",), os.getpid(), None, time.time(), None)
OTHER = replace(HERE, name="other", rest_port=9601, grpc_port=9600, models=("n", "o"))
TWIN = replace(HERE, name="twin", rest_port=9701, grpc_port=9700)
NO_GRPC = replace(HERE, name="rest_only", rest_port=9801, grpc_port=0)
MUTUAL = replace(HERE, name="tls", certificate="server.pem", client_ca="ca.pem")
ANOTHER = 'tfsctl.serve("PATH") starts one; tfsctl.connect("HOST:PORT") reaches another server'
CHOOSE = 'choose one: tfsctl.connect(server="NAME"), or tfsctl.connect(model="NAME")'


@pytest.mark.parametrize(
    ("running", "options", "wanted"),
    [
        ([HERE], {}, "<tfsctl.Client 127.0.0.1:9500 over grpc, model=m>"),
        ([OTHER], {}, "<tfsctl.Client 127.0.0.1:9600 over grpc>"),
        ([HERE, OTHER], {"model": "o"}, "<tfsctl.Client 127.0.0.1:9600 over grpc, model=o>"),
        ([HERE, OTHER], {"server": "here"}, "<tfsctl.Client 127.0.0.1:9500 over grpc, model=m>"),
        ([HERE, TWIN], {"server": "twin", "model": "m"}, "<tfsctl.Client 127.0.0.1:9700 over grpc, model=m>"),
        ([HERE], {"version": 3}, "<tfsctl.Client 127.0.0.1:9500 over grpc, model=m version 3>"),
        ([HERE], {"label": "stable"}, "<tfsctl.Client 127.0.0.1:9500 over grpc, model=m label stable>"),
        ([NO_GRPC], {}, "<tfsctl.Client 127.0.0.1:9801 over rest, model=m>"),
        ([HERE], {"address": "localhost:9500"}, "<tfsctl.Client localhost:9500 over grpc, model=m>"),
        (
            [HERE],
            {"address": "http://127.0.0.1:9501", "version": 2},
            "<tfsctl.Client 127.0.0.1:9501 over rest, model=m version 2>",
        ),
        ([HERE], {"address": "127.0.0.1:9501"}, "<tfsctl.Client 127.0.0.1:9501 over grpc>"),
        ([HERE], {"address": "example.org:9500"}, "<tfsctl.Client example.org:9500 over grpc>"),
        ([], {"model": "m"}, "<tfsctl.Client localhost:8500 over grpc, model=m>"),
    ],
)
def test_running_servers_are_found(running: list[ServerRecord], options: dict[str, Any], wanted: str) -> None:
    """By name, by model, or because there is only one."""
    for record in running:
        records.register(record)

    with tfsctl.connect(**options) as client:
        assert repr(client) == wanted


@pytest.mark.parametrize(
    ("running", "options", "kind", "message", "hint"),
    [
        ([], {}, tfsctl.NotFound, "no server started by tfsctl is running", ANOTHER),
        ([], {"server": "here"}, tfsctl.NotFound, "no server started by tfsctl is running", ANOTHER),
        ([HERE, OTHER], {}, tfsctl.InvalidInput, "several servers match: ", CHOOSE),
        ([HERE, TWIN], {"model": "m"}, tfsctl.InvalidInput, "several servers match: here (m; REST 9501, gRPC 9500), twin (m; REST", CHOOSE),
        ([HERE], {"model": "mm"}, tfsctl.NotFound, "no running server serves 'mm'", 'did you mean model="m"?'),
        ([HERE], {"model": "resnet"}, tfsctl.NotFound, "no running server serves 'resnet'", ANOTHER),
        ([HERE], {"server": "her"}, tfsctl.NotFound, "no running server is named 'her'; running: here", 'did you mean server="here"?'),
        ([HERE], {"server": "xyz"}, tfsctl.NotFound, "no running server is named 'xyz'", "tfsctl ps lists the servers"),
        ([OTHER], {"version": 1}, tfsctl.InvalidInput, "a version or label needs a model", 'tfsctl.connect(model="NAME")'),
        ([HERE], {"address": "h:1", "server": "here"}, tfsctl.InvalidInput, "both choose a server", "remove one of them"),
        ([HERE], {"address": "h:1", "label": "l"}, tfsctl.InvalidInput, "a version or label needs a model", 'tfsctl.connect(model="NAME")'),
        ([MUTUAL], {}, tfsctl.InvalidInput, "requires a client certificate signed by ca.pem", 'add cert="FILE" key="FILE"; or use REST, which has no TLS'),
        ([HERE], {"key": "k"}, tfsctl.InvalidInput, "key is the key of a certificate", 'name the certificate with cert="FILE"'),
    ],
)  # fmt: skip
def test_no_server_or_several_servers_is_an_error_with_a_python_hint(
    running: list[ServerRecord], options: dict[str, Any], kind: type[tfsctl.TfsctlError], message: str, hint: str
) -> None:
    """The errors of the command line, with hints for Python."""
    for record in running:
        records.register(record)

    with pytest.raises(kind) as caught:
        tfsctl.connect(**options)

    assert message in caught.value.message
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    "options",
    [
        {"timeout_s": 0},
        {"timeout_s": -1},
        {"timeout_s": float("nan")},
        {"timeout_s": float("inf")},
        {"headers": {"a b": "c"}},
        {"address": 8500},
    ],
)
def test_connect_refuses_invalid_options(options: dict[str, Any]) -> None:
    """They are refused before anything is sent."""
    with pytest.raises(tfsctl.InvalidInput):
        tfsctl.connect(**{"address": "localhost:8500", **options})


@pytest.mark.server
def test_the_certificate_of_a_server_that_was_found_is_trusted(tmp_path: Path) -> None:
    """Its certificate is trusted, so that nothing has to be named; a client certificate has to be."""
    with secure_server(tmp_path) as secure:
        server = secure.server
        record = replace(
            HERE,
            host="localhost",
            grpc_port=server.grpc_port,
            models=("echo",),
            certificate=str(secure.tls.ca),
            client_ca="ca.pem",
        )
        records.register(record)
        with tfsctl.connect(cert=secure.tls.cert, key=secure.tls.key) as client:
            assert client.predict(2.0)["x"].tolist() == [2.0]


def test_a_profile_gives_the_url_model_and_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its URL, model and headers; a given model and headers take precedence."""
    file = tmp_path / "config.toml"
    file.write_text('[profiles.shop]\nurl = "http://far:8501/models"\nmodel = "m"\nheaders = { a = "1", b = "2" }\n')
    monkeypatch.setenv("TFSCTL_CONFIG", str(file))

    with tfsctl.connect(profile="shop", headers={"B": "3"}) as client:
        assert repr(client) == "<tfsctl.Client far:8501/models over rest, model=m>"
    with tfsctl.connect(profile="shop", model="n", version=2) as client:
        assert repr(client) == "<tfsctl.Client far:8501/models over rest, model=n version 2>"
    with pytest.raises(tfsctl.NotFound, match="has no profile 'shap'; it has shop") as missing:
        tfsctl.connect(profile="shap")
    assert missing.value.hint == 'did you mean profile="shop"?'
    with pytest.raises(tfsctl.InvalidInput, match="a profile and an address or server's name both choose a server"):
        tfsctl.connect("h:1", profile="shop")


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("http://h:8501/v1/models/m", "<tfsctl.Client h:8501 over rest, model=m>"),
        ("http://h:8501/v1/models/m/versions/3:predict", "<tfsctl.Client h:8501 over rest, model=m version 3>"),
        ("https://h/gateway/v1/models/a%2Fb/labels/x", "<tfsctl.Client h:443/gateway over rest, model=a/b label x>"),
        ("http://h:8501/gateway", "<tfsctl.Client h:8501/gateway over rest, model=m>"),
    ],
)
def test_the_url_of_a_model(address: str, wanted: str) -> None:
    """As `tfsctl serve` prints it: with the model, and with a version or label."""
    with tfsctl.connect(address, model="m" if address.endswith("gateway") else None) as client:
        assert repr(client) == wanted


def test_the_url_of_another_model() -> None:
    """An address and an argument that name two models contradict each other."""
    with pytest.raises(tfsctl.InvalidInput, match="the address is that of the model m, and model is n"):
        tfsctl.connect("http://h:8501/v1/models/m", model="n")


@pytest.mark.parametrize("version", ["3", 3.0, -1, True, 2**63])
def test_versions_that_are_none(version: Any) -> None:
    """A text, a float or a boolean is not a version number."""
    with pytest.raises(tfsctl.InvalidInput, match="not a version number"):
        tfsctl.connect("h:1", model="m", version=version)
    with tfsctl.connect("h:1", model="m") as client, pytest.raises(tfsctl.InvalidInput, match="not a version number"):
        client.predict(1, version=version)
    with tfsctl.connect("h:1", model="m", version=np.int64(3)) as client:  # type: ignore[arg-type] # it is taken
        assert repr(client) == "<tfsctl.Client h:1 over grpc, model=m version 3>"
