"""Profiles of remote servers: what the config file means, and errors that name its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfsctl.clients.connection import ClientTls, Connection, Header
from tfsctl.clients.profiles.key_lines import line_of
from tfsctl.clients.profiles.profile_file import Profile, config_file, load_profile, profile_names
from tfsctl.errors import InvalidInput, NotFound


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the config file, which does not exist yet."""
    monkeypatch.setenv("TFSCTL_CONFIG", str(tmp_path / "config.toml"))
    return tmp_path / "config.toml"


def test_all_keys_of_a_profile(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """URL, model, TLS files next to the config file, headers, and secrets from the environment."""
    monkeypatch.setenv("TOKEN", "s3cret")
    for name in ("ca.pem", "me.pem"):
        (config.parent / name).touch()
    config.write_text(
        "[profiles.a]\n"
        'url = "https://gateway/models/"\n'
        'model = "m"\n'
        'tls = { ca = "ca.pem", cert = "me.pem", server_name = "inside" }\n'
        'headers = { x-tenant = "acme" }\n'
        'header_env = { authorization = "Bearer TOKEN" }\n'
    )
    tls = ClientTls(config.parent / "ca.pem", config.parent / "me.pem", server_name="inside")
    headers = (Header("x-tenant", "acme"), Header("authorization", "Bearer s3cret", "TOKEN", "Bearer "))
    expected = Profile("a", "rest", "gateway", 443, "m", Connection(tls=tls, headers=headers, path="/models"))

    assert load_profile("a") == expected
    assert "s3cret" not in repr(load_profile("a"))


@pytest.mark.parametrize(
    ("url", "transport", "port", "tls"),
    [
        ("http://h", "rest", 80, None),
        ("http://h:8501/", "rest", 8501, None),
        ("https://h", "rest", 443, ClientTls()),
        ("grpc://h", "grpc", 8500, None),
        ("grpcs://h:1", "grpc", 1, ClientTls()),
    ],
)
def test_the_url_tells_transport_port_and_encryption(
    config: Path, url: str, transport: str, port: int, tls: ClientTls | None
) -> None:
    """REST and gRPC, plain and over TLS."""
    config.write_text(f'\ufeff[profiles."my one"]\r\nurl = "{url}"\r\n', encoding="utf-8")
    profile = load_profile("my one")
    assert (profile.transport, profile.host, profile.port, profile.connection.tls) == (transport, "h", port, tls)
    assert profile_names() == ["my one"]


@pytest.mark.parametrize(
    ("lines", "number", "message"),
    [
        ("url=1", 2, "url is not a text"),
        ('model="m"', 1, "the profile has no url"),
        ('# c\nurl="h:80"', 3, "the url 'h:80' does not begin with https://, http://, grpcs:// or grpc://"),
        ('url="https://u:pw@h"', 2, "the url contains a password"),
        ('url="https://h:x"', 2, "the url is not a URL: Port could not be cast to integer value as 'x'"),
        ('url="https://h?a"', 2, "the url 'https://h?a' does not end with its path"),
        ('url="grpc://h/p"', 2, "the url 'grpc://h/p' has a path, and gRPC has none"),
        ('url="http://h/v1/models/m"', 2, "the url 'http://h/v1/models/m' is the URL of a model"),
        ('url="http://h"\n[profiles.a.tls]\nca="x"', 2, "the profile has tls, and its url is not encrypted (http://)"),
        ('url="https://h"\ntls=true', 3, "tls is not a table"),
        ('url="https://h"\n\n[profiles.a.tls]\nkey="k"', 5, "the key has no certificate"),
        ('url="https://h"\ntls.cert="c"\ntls.kee="k"', 4, "there is no setting 'kee'"),
        ('url="https://h"\nheader="x"', 3, "there is no setting 'header'"),
        (
            'url="https://h"\nheader_env={a="B UNSET_VARIABLE"}',
            3,
            "the environment variable is not set: UNSET_VARIABLE",
        ),
        ('url="https://h"\nheaders={"a b"="c"}', 3, "'a b' is not a valid header name"),
        ('url="https://h"\nheaders={A="c"}\nheader_env.a="HOME"', 4, "headers sets a too"),
        ('url="https://h', 2, "illegal character '\\n'"),
        ("url=", 2, "invalid value"),
    ],
)
def test_errors_name_file_and_line(config: Path, lines: str, number: int, message: str) -> None:
    """Every error begins as FILE:LINE, and has a hint."""
    config.write_text(f"[profiles.a]\n{lines}\n")
    with pytest.raises(InvalidInput) as caught:
        load_profile("a")
    assert caught.value.message == f"{config}:{number}: {message}"
    assert caught.value.hint
    assert "pw" not in caught.value.message


def test_a_missing_config_file_profile_or_pem_file_is_named(config: Path) -> None:
    """A missing config file, profile or PEM file."""
    with pytest.raises(NotFound, match=f"there is no profile 'a': there is no file {config}"):
        load_profile("a")
    config.write_text('[profiles.abc]\nurl="https://h"\ntls.ca = "no.pem"\n')
    with pytest.raises(NotFound, match="has no profile 'abd'; it has abc") as caught:
        load_profile("abd")
    assert caught.value.hint == "did you mean --profile abc?"
    with pytest.raises(NotFound, match=rf"config\.toml:3: there is no file {config.parent}/no\.pem"):
        load_profile("abc")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"[profile.a]\n", "1: there is no setting 'profile'"), (b"\n\xff", "2: the file is not UTF-8 text")],
)
def test_the_whole_file_is_checked(config: Path, content: bytes, message: str) -> None:
    """A misspelt table, and a file in another encoding."""
    config.write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        load_profile("a")


def test_the_config_file_is_in_the_folder_of_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is in the platform's folder for configuration; without a home directory, TFSCTL_CONFIG is needed."""
    monkeypatch.delenv("TFSCTL_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config_file() == tmp_path / "tfsctl" / "config.toml"
    monkeypatch.setattr("platformdirs.user_config_path", lambda _name: Path("~/.config/tfsctl"))
    with pytest.raises(NotFound) as caught:
        config_file()
    assert caught.value.hint == "set TFSCTL_CONFIG to a file"


def test_the_line_of_a_key_is_found_in_every_form_of_toml() -> None:
    """Tables, dotted and quoted keys, inline tables."""
    text = 'x = 1\n[a."b c"] # d\ny = "["\n z.w = 2\n[[q]]\n'
    assert line_of(text, ["x"]) == 1
    assert line_of(text, ["a", "b c"]) == 2
    assert line_of(text, ["a", "b c", "y"]) == 3
    assert line_of(text, ["a", "b c", "z", "w"]) == 4
    assert line_of(text, ["a", "b c", "z", "other"]) == 4
    assert line_of(text, ["q", "r"]) == 5
    assert line_of(text, ["nothing"]) == 1
