"""--profile and --server on the command line: what they select, and what takes precedence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cli_runner import RunCli
from model_servers import Served
from secure_servers import Secure, secure_server

import tfsctl
from tfsctl.clients.connection import Transport
from tfsctl.engines.registry import records
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import ExitCode


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the config file."""
    monkeypatch.setenv("TFSCTL_CONFIG", str(tmp_path / "config.toml"))
    return tmp_path / "config.toml"


@pytest.fixture
def profiles(config: Path, served: Served) -> None:
    """Profiles of the shared server: over REST with a model, over gRPC without."""
    config.write_text(
        f'[profiles.rest]\nurl = "http://127.0.0.1:{served.rest_port}"\nmodel = "half_plus_two"\n'
        'headers = { x-tenant = "acme", x-more = "1" }\n'
        f'[profiles.grpc]\nurl = "grpc://127.0.0.1:{served.grpc_port}"\n'
    )


@pytest.mark.usefixtures("profiles")
def test_a_profile_is_a_server_and_a_model(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    """For predict, status, wait and the REPL; also as a variable."""
    assert run_cli("predict", "--profile", "rest", "2").stdout == "3.0\n"
    assert run_cli("predict", "--profile", "grpc", "--model", "half_plus_two", "2").stdout == "3.0\n"
    assert run_cli("repl", "--profile", "rest", stdin="2\n").stdout == "3.0\n"
    monkeypatch.setenv("TFSCTL_PROFILE", "rest")
    assert run_cli("status").stdout.startswith("half_plus_two\t")
    assert run_cli("wait", "echo").stdout == "echo version 7 AVAILABLE\n"


@pytest.mark.usefixtures("profiles")
def test_the_command_line_overrides_the_profile(run_cli: RunCli) -> None:
    """Another model, and another value of a header."""
    shown = run_cli("predict", "--profile", "rest", "--model", "echo", "-H", "X-Tenant: b", "--dry-run", "--json", "2")
    document = json.loads(shown.stdout)
    assert document["url"].endswith("/v1/models/echo:predict")
    assert document["headers"] == {"x-more": "1", "X-Tenant": "b"}


@pytest.mark.usefixtures("profiles")
def test_the_profile_overrides_other_variables(run_cli: RunCli, monkeypatch: pytest.MonkeyPatch) -> None:
    """They belong to another server; so does a profile from a variable if the command line names a server."""
    for name, value in (("MODEL", "nope"), ("HOST", "nope"), ("SERVER", "nope"), ("GRPC", "1"), ("TLS", "1")):
        monkeypatch.setenv(f"TFSCTL_{name}", value)
    assert run_cli("predict", "--profile", "rest", "2").stdout == "3.0\n"
    monkeypatch.setenv("TFSCTL_PROFILE", "rest")
    for name in ("HOST", "SERVER", "GRPC", "TLS"):
        monkeypatch.delenv(f"TFSCTL_{name}")
    result = run_cli("predict", "--host", "127.0.0.1", "--port", "9", "2")
    assert (result.code, "127.0.0.1:9" in result.stderr) == (3, True)


@pytest.mark.usefixtures("profiles")
@pytest.mark.parametrize(
    ("options", "code", "error", "hint"),
    [
        (["--profile", "nope"], 4, " has no profile 'nope'; it has rest, grpc\n", "hint: add [profiles.nope]"),
        (["--profile", "rest", "--port", "1"], 2, "--profile cannot be used with --port\n", "remove one of them"),
        (["--profile", "rest", "--grpc"], 2, "the profile rest uses REST\n", "remove --grpc"),
        (["--profile", "grpc", "--rest"], 2, "the profile grpc uses gRPC\n", "remove --rest"),
        (["--server", "a", "--port", "1"], 2, "--server cannot be used with --host, --port or --url\n", "remove one"),
    ],
)
def test_contradictions_are_explained(run_cli: RunCli, options: list[str], code: int, error: str, hint: str) -> None:
    """One error, with the option to remove."""
    result = run_cli("predict", *options, "2")
    assert (result.stdout, result.code) == ("", code)
    assert error in result.stderr
    assert hint in result.stderr


@pytest.mark.server
@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_server_name_is_checked_instead_of_the_host(secure: Secure, run_cli: RunCli, config: Path, scheme: str) -> None:
    """The certificate must be for that name."""
    port = secure.server.rest_port if scheme == "https" else secure.server.grpc_port
    tls = secure.tls
    for name in ("serving.internal", "other.internal"):
        config.write_text(
            f'[profiles.p]\nurl = "{scheme}://127.0.0.1:{port}"\nmodel = "echo"\n'
            f'tls = {{ ca = "{tls.ca}", cert = "{tls.cert}", key = "{tls.key}", server_name = "{name}" }}\n'
        )
        result = run_cli("predict", "--profile", "p", "1.5")
        assert (result.stdout, result.code) == (("1.5\n", 0) if name == "serving.internal" else ("", 3)), result.stderr


@pytest.mark.server
@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_option_of_the_server_name(
    secure: Secure, run_cli: RunCli, transport: Transport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--tls-server-name, its variable, and the argument of `connect`."""
    tls = secure.tls
    files = ["--ca", tls.ca, "--cert", tls.cert, "--key", tls.key]
    options = [*secure.options(transport), *files]
    assert run_cli("predict", *options, "--tls-server-name", "other.internal", "1.5").code == ExitCode.UNREACHABLE
    assert run_cli("predict", *options, "--tls-server-name", "serving.internal", "1.5").stdout == "1.5\n"
    monkeypatch.setenv("TFSCTL_TLS_SERVER_NAME", "other.internal")
    assert run_cli("predict", *options, "1.5").code == ExitCode.UNREACHABLE

    port = secure.server.rest_port if transport == "rest" else secure.server.grpc_port
    address = f"{'https' if transport == 'rest' else 'grpcs'}://127.0.0.1:{port}"
    for name in ("serving.internal", "other.internal"):
        with tfsctl.connect(
            address, model="echo", ca=tls.ca, cert=tls.cert, key=tls.key, tls_server_name=name
        ) as client:
            if name == "serving.internal":
                assert client.predict(1.5)["x"].tolist() == [1.5]
            else:
                with pytest.raises(tfsctl.ServerUnreachable, match="other"):
                    client.predict(1.5)


@pytest.mark.parametrize("name", ["", ".", "a..b", "a" * 64, "ü.example", "a b", "*.example", "x\n"])
def test_invalid_server_names(run_cli: RunCli, name: str) -> None:
    """A usage error, before anything is sent."""
    result = run_cli("predict", "1", "--model", "m", "--port", "9", "--tls-server-name", name)
    assert (result.code, "is not a name in a certificate" in result.stderr) == (ExitCode.USAGE, True)


@pytest.mark.server
@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ("curl", "--connect-to serving.internal:{port}:127.0.0.1:{port}"),
        ("grpcurl", "-servername serving.internal"),
        ("http", "HTTPie cannot check the server's certificate for another name (serving.internal)"),
    ],
)
def test_snippets_check_the_server_name(
    secure: Secure, run_cli: RunCli, config: Path, program: str, expected: str
) -> None:
    """Or say that the program cannot."""
    port = secure.server.grpc_port if program == "grpcurl" else secure.server.rest_port
    tls = secure.tls
    scheme = "grpcs" if program == "grpcurl" else "https"
    config.write_text(
        f'[profiles.p]\nurl = "{scheme}://127.0.0.1:{port}"\nmodel = "echo"\n'
        f'tls = {{ ca = "{tls.ca}", cert = "{tls.cert}", key = "{tls.key}", server_name = "serving.internal" }}\n'
    )
    result = run_cli("predict", "--profile", "p", "1.5", "--show", program)
    assert expected.format(port=port) in result.stdout + result.stderr


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """A server with mutual TLS, whose certificate is for serving.internal too."""
    with secure_server(tmp_path_factory.mktemp("secure")) as server:
        yield server


def test_server_selects_one_of_several(registered: ServerRecord, run_cli: RunCli) -> None:
    """Two servers have the model; the error names them."""
    other = replace(registered, name="other", rest_port=9, grpc_port=9)
    records.register(other, launch={})
    try:
        result = run_cli("predict", "--model", "half_plus_two", "2")
        assert result.code == 2
        assert "error: several servers match: " in result.stderr
        assert "hint: choose one with --server NAME" in result.stderr
        assert run_cli("predict", "--server", registered.name, "--model", "half_plus_two", "2").stdout == "3.0\n"
        assert run_cli("repl", "--server", registered.name, "--model", "half_plus_two", stdin="2\n").stdout == "3.0\n"
        assert run_cli("predict", "--server", "other", "--model", "half_plus_two", "2").code == 3
        assert f"{registered.name}?" in run_cli("predict", "--server", f"{registered.name}x", "2").stderr
        listed = run_cli("status", "--server", registered.name).stdout
        assert {line.split("\t")[0] for line in listed.splitlines()} == set(registered.models)
    finally:
        records.unregister(other)
