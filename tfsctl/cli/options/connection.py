"""The options that say which server and model a command talks to, and how: the same for every command that does."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from tfsctl.cli import _options
from tfsctl.cli._option_groups import option_group
from tfsctl.cli._target import Asked
from tfsctl.clients import DEFAULT_TIMEOUT_S
from tfsctl.clients.connection import Connection, Header, Tls
from tfsctl.errors import InvalidInput


def _asked(
    *,
    model: _options.Model = None,
    host: _options.Host = None,
    port: _options.Port = None,
    url: _options.Url = None,
    use_grpc: _options.Grpc = False,
    version: _options.Version = None,
    label: _options.Label = None,
    timeout: _options.Timeout = DEFAULT_TIMEOUT_S,
    connect_timeout: _options.ConnectTimeout = None,
    use_tls: _options.UseTls = False,
    ca: _options.Ca = None,
    cert: _options.Cert = None,
    key: _options.Key = None,
    headers: _options.Headers = None,
    header_env: _options.HeaderVariables = None,
    proxy: _options.Proxy = None,
    compression: _options.Compressed = None,
    keepalive: _options.KeepAlive = None,
    lb: _options.Balanced = None,
) -> Asked:
    """What the options say. Raises InvalidInput for what no header, URL or file can be."""
    if key is not None and cert is None:
        raise InvalidInput("--key is the key of a certificate", hint="name that with --cert FILE")
    encrypted = use_tls or ca is not None or cert is not None
    written = [Header.written(text) for text in headers or ()]
    connection = Connection(
        tls=Tls(ca, cert, key) if encrypted else None,
        headers=(*written, *(Header.from_environment(text) for text in header_env or ())),
        proxy=proxy,
        connect_timeout_s=connect_timeout,
        compression=compression,
        keepalive_s=keepalive,
        balancing=lb,
    )
    asked = Asked(model, host, port, version, label, "grpc" if use_grpc else "rest", timeout, connection)
    if url is None:
        return asked
    from tfsctl.cli._url import with_url

    return with_url(asked, url)


asks_a_server = option_group("asked", _asked)


def read_options(given: Mapping[str, Any]) -> Asked:
    """What was asked, of the values of all the options a command was given so far. Raises InvalidInput."""
    ours = inspect.signature(_asked).parameters
    return _asked(**{name: value for name, value in given.items() if name in ours and value is not None})
