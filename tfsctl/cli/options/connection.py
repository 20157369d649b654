"""The options that say which server and model a command talks to, and how: the same for every command that does."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from tfsctl.cli.options import shared as shared_options
from tfsctl.cli.options.groups import option_group
from tfsctl.cli.options.target import Asked
from tfsctl.clients.connection import DEFAULT_TIMEOUT_S, ClientTls, Connection, Header
from tfsctl.errors import InvalidInput


def _asked(
    *,
    model: shared_options.Model = None,
    host: shared_options.Host = None,
    port: shared_options.Port = None,
    url: shared_options.Url = None,
    use_grpc: shared_options.Grpc = False,
    version: shared_options.Version = None,
    label: shared_options.Label = None,
    timeout: shared_options.Timeout = DEFAULT_TIMEOUT_S,
    connect_timeout: shared_options.ConnectTimeout = None,
    use_tls: shared_options.UseTls = False,
    ca: shared_options.Ca = None,
    cert: shared_options.Cert = None,
    key: shared_options.Key = None,
    headers: shared_options.Headers = None,
    header_env: shared_options.HeaderVariables = None,
    proxy: shared_options.Proxy = None,
    compression: shared_options.Compressed = None,
    keepalive: shared_options.KeepAlive = None,
    lb: shared_options.Balanced = None,
) -> Asked:
    """What the options say. Raises InvalidInput for what no header, URL or file can be."""
    if key is not None and cert is None:
        raise InvalidInput("--key is the key of a certificate", hint="name that with --cert FILE")
    encrypted = use_tls or ca is not None or cert is not None
    written = [Header.parse(text) for text in headers or ()]
    connection = Connection(
        tls=ClientTls(ca, cert, key) if encrypted else None,
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
    from tfsctl.cli.options.url import with_url

    return with_url(asked, url)


asks_a_server = option_group("asked", _asked)


def read_options(given: Mapping[str, Any]) -> Asked:
    """What was asked, of the values of all the options a command was given so far. Raises InvalidInput."""
    ours = inspect.signature(_asked).parameters
    return _asked(**{name: value for name, value in given.items() if name in ours and value is not None})
