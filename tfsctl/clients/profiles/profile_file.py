"""Read profiles of remote servers from the config file. Every error names the file and the line.

    [profiles.staging]
    url = "https://gateway.example.com/models"       # or http://, grpc://, grpcs://
    model = "amazon_review"                          # optional, as is all that follows
    tls = { ca = "ca.pem", cert = "me.pem", key = "me.key", server_name = "serving.internal" }
    header_env = { authorization = "Bearer TOKEN" }  # from the environment variable TOKEN
    headers = { x-tenant = "acme" }

Files are relative to the folder of the config file.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from tfsctl.clients.connection import ClientTls, Connection, Header, Transport
from tfsctl.clients.profiles.key_lines import line_of
from tfsctl.errors import InvalidInput, NotFound

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

VARIABLE = "TFSCTL_CONFIG"
_SCHEMES: dict[str, tuple[Transport, int]] = {
    "http": ("rest", 80),
    "https": ("rest", 443),
    "grpc": ("grpc", 8500),
    "grpcs": ("grpc", 443),
}
_ENCRYPTED = {"http": "https", "grpc": "grpcs"}
_KEYS = ("url", "model", "tls", "headers", "header_env")
_TLS_KEYS = ("ca", "cert", "key", "server_name")


@dataclass(frozen=True, slots=True)
class Profile:
    """One profile: where the server is, how to reach it, and the default model."""

    name: str
    transport: Transport
    host: str
    port: int
    model: str | None
    connection: Connection


def config_file() -> Path:
    """The path of the config file, which may not exist.

    It is TFSCTL_CONFIG, or `config.toml` in the platform's folder for configuration (Linux: ~/.config/tfsctl). Raises
    NotFound if there is no home directory.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    with suppress(RuntimeError):
        folder = platformdirs.user_config_path("tfsctl")
        if not str(folder).startswith("~"):
            return folder / "config.toml"
    raise NotFound("there is no config file: this user has no home directory", hint=f"set {VARIABLE} to a file")


def profile_names() -> list[str]:
    """The names of all profiles. Raises what `load_profile` raises for a file that cannot be read."""
    return list(_ConfigFile.read(config_file()).profiles())


def load_profile(name: str) -> Profile:
    """Read one profile.

    Raises NotFound if there is no such profile or a file cannot be read, and InvalidInput for an invalid file.
    """
    path = config_file()
    if not path.exists():
        raise NotFound(
            f"there is no profile {name!r}: there is no file {path}",
            hint=f'write to it: [profiles.{_toml_key(name)}] and, on the next line, url = "https://HOST"',
        )
    return _ConfigFile.read(path).profile(name)


@dataclass(frozen=True, slots=True)
class _ConfigFile:
    path: Path
    text: str
    document: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> _ConfigFile:
        try:
            text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
        except OSError as error:
            raise NotFound(f"cannot read {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise InvalidInput(f"{path}:{line}: the file is not UTF-8 text", hint="save it as UTF-8") from error
        try:
            return cls(path, text, tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            reason, _, where = str(error).partition(" (at ")
            found = re.match(r"line (\d+)", where)
            line = int(found[1]) if found else text.count("\n") + 1
            raise InvalidInput(
                f"{path}:{line}: {reason[:1].lower()}{reason[1:]}", hint="the file is TOML: https://toml.io"
            ) from error

    def profiles(self) -> Mapping[str, Any]:
        self.check_keys((), self.document, ("profiles",))
        return self.table((), self.document, "profiles")

    def profile(self, name: str) -> Profile:
        profiles = self.profiles()
        if name not in profiles:
            close = difflib.get_close_matches(name, profiles, n=1)
            raise NotFound(
                f"{self.path} has no profile {name!r}; it has {', '.join(profiles) or 'none'}",
                hint=f"did you mean --profile {close[0]}?"
                if close
                else f'add [profiles.{_toml_key(name)}] and, on the next line, url = "https://HOST"',
            )
        keys = ("profiles", name)
        values = self.table(("profiles",), profiles, name)
        self.check_keys(keys, values, _KEYS)
        url = self.string(keys, values, "url")
        if url is None:
            self.fail(keys, "the profile has no url", hint='url = "https://HOST"')
        scheme, host, port, path = self.split_url((*keys, "url"), url)
        transport, default_port = _SCHEMES[scheme]
        connection = Connection(
            tls=self.tls(keys, values, scheme=scheme), headers=tuple(self.headers(keys, values)), path=path
        )
        return Profile(name, transport, host, port or default_port, self.string(keys, values, "model"), connection)

    def split_url(self, keys: Sequence[str], url: str) -> tuple[str, str, int | None, str]:
        example = 'url = "https://HOST", "http://HOST:8501", "grpcs://HOST" or "grpc://HOST:8500"'
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            self.fail(keys, f"the url is not a URL: {error}", hint=example)
        if parts.username is not None or parts.password is not None:
            self.fail(
                keys,
                "the url contains a password",
                hint='header_env = { authorization = "Basic CREDENTIALS" } sends it',
            )
        if parts.scheme not in _SCHEMES or not host:
            self.fail(keys, f"the url {url!r} does not begin with https://, http://, grpcs:// or grpc://", hint=example)
        if parts.query or parts.fragment:
            self.fail(keys, f"the url {url!r} does not end with its path", hint="remove what follows ? or #")
        path = parts.path.rstrip("/")
        if path and _SCHEMES[parts.scheme][0] == "grpc":
            self.fail(keys, f"the url {url!r} has a path, and gRPC has none", hint="remove the path")
        if "/v1/models/" in f"{path}/":
            self.fail(keys, f"the url {url!r} is the URL of a model", hint='end it before /v1, and set model = "NAME"')
        return parts.scheme, host, port, path

    def tls(self, keys: Sequence[str], values: Mapping[str, Any], *, scheme: str) -> ClientTls | None:
        if "tls" not in values:
            return None if scheme in _ENCRYPTED else ClientTls()
        own = (*keys, "tls")
        table = self.table(keys, values, "tls")
        if scheme in _ENCRYPTED:
            self.fail(
                (*keys, "url"),
                f"the profile has tls, and its url is not encrypted ({scheme}://)",
                hint=f"begin the url with {_ENCRYPTED[scheme]}://, or remove tls",
            )
        self.check_keys(own, table, _TLS_KEYS)
        if "key" in table and "cert" not in table:
            self.fail((*own, "key"), "the key has no certificate", hint='cert = "FILE"')
        files = {key: self.file(own, table, key) for key in ("ca", "cert", "key")}
        return ClientTls(**files, server_name=self.string(own, table, "server_name"))

    def file(self, keys: Sequence[str], values: Mapping[str, Any], key: str) -> Path | None:
        text = self.string(keys, values, key)
        if text is None:
            return None
        path = self.path.parent / Path(text).expanduser()
        if not path.is_file():
            raise NotFound(
                f"{self.where((*keys, key))}: there is no file {path}",
                hint=f'{key} = "FILE", an absolute path or one relative to {self.path.parent}',
            )
        return path

    def headers(self, keys: Sequence[str], values: Mapping[str, Any]) -> Iterable[Header]:
        literal = self.table(keys, values, "headers")
        from_variables = self.table(keys, values, "header_env")
        names = {name.lower() for name in literal}
        for table, key, separator, parse in (
            (literal, "headers", ":", Header.parse),
            (from_variables, "header_env", "=", Header.from_environment),
        ):
            for name in table:
                own = (*keys, key)
                if key == "header_env" and name.lower() in names:
                    self.fail((*own, name), f"headers sets {name} too", hint="remove one of them")
                text = f"{name}{separator}{self.string(own, table, name)}"
                try:
                    yield parse(text)
                except InvalidInput as error:
                    hint = error.hint if error.hint.startswith("export ") else f"{key} = {_HEADER_EXAMPLES[key]}"
                    self.fail((*own, name), error.message, hint=hint)

    def table(self, keys: Sequence[str], values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        found = values.get(key, {})
        if not isinstance(found, dict):
            self.fail((*keys, key), f"{key} is not a table", hint=f"[{'.'.join(map(_toml_key, (*keys, key)))}]")
        return found

    def string(self, keys: Sequence[str], values: Mapping[str, Any], key: str) -> str | None:
        found = values.get(key)
        if found is not None and not (isinstance(found, str) and found):
            self.fail((*keys, key), f"{key} is not a text", hint=f'{_toml_key(key)} = "…"')
        return found

    def check_keys(self, keys: Sequence[str], values: Mapping[str, Any], known: Sequence[str]) -> None:
        for key in values:
            if key not in known:
                close = difflib.get_close_matches(key, known, n=1)
                self.fail(
                    (*keys, key),
                    f"there is no setting {key!r}",
                    hint=f"did you mean {close[0]}?" if close else f"the settings are {', '.join(known)}",
                )

    def fail(self, keys: Sequence[str], what: str, *, hint: str) -> NoReturn:
        """Raise InvalidInput for a key, with the file and line."""
        raise InvalidInput(f"{self.where(keys)}: {what}", hint=hint)

    def where(self, keys: Sequence[str]) -> str:
        return f"{self.path}:{line_of(self.text, keys)}"


_HEADER_EXAMPLES = {"headers": '{ x-tenant = "acme" }', "header_env": '{ authorization = "Bearer TOKEN" }'}


def _toml_key(name: str) -> str:
    """A key as TOML writes it: quoted if it has other characters than letters, digits, - and _."""
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else f'"{name}"'
