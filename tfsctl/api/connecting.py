"""`connect` and `connect_async`: make a client from an address, with TLS and headers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from tfsctl.api.address import Address
from tfsctl.api.async_client import DEFAULT_CONCURRENCY, AsyncClient
from tfsctl.api.client import Client
from tfsctl.clients.connection import DEFAULT_TIMEOUT_S, ClientTls, Connection, Header
from tfsctl.clients.factory import open_client
from tfsctl.core.types import ModelRef
from tfsctl.errors import InvalidInput


def connect(
    address: str,
    *,
    model: str | None = None,
    version: int | None = None,
    label: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    tls: bool = False,
    ca: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Client:
    """Return a client for the model server at an address. Nothing is sent before its first call.

    - `host:port`, `grpc://host:port` and `unix:/path` use gRPC; `http://host:port` uses REST.
    - `grpcs://`, `https://` and `tls=True` use TLS. `ca` is the certificate authority to trust (default: the system's);
      `cert` and `key` are the client's certificate. All three are PEM files.
    - `headers` are sent with every request, as gRPC metadata or HTTP headers.
    - `timeout_s` is the time limit of each call, in seconds.

    Raises InvalidInput if the address is not one of these forms.
    """
    if model is None and (version is not None or label is not None):
        raise InvalidInput("a version or label is one of a model", hint='connect(…, model="NAME")')
    if version is not None and label is not None:
        raise InvalidInput("version and label both choose a version")
    at = Address.parse(address)
    is_encrypted = tls or at.is_encrypted or ca is not None or cert is not None
    paths = [None if one is None else Path(one) for one in (ca, cert, key)]
    connection = Connection(
        tls=ClientTls(*paths) if is_encrypted else None,
        headers=tuple(Header.parse(f"{name}: {value}") for name, value in (headers or {}).items()),
        path=at.path,
    )
    opened = partial(open_client, at.transport, at.host, at.port, timeout_s=timeout_s, connection=connection)
    return Client(opened, None if model is None else ModelRef(model, version, label))


def connect_async(
    address: str,
    *,
    model: str | None = None,
    version: int | None = None,
    label: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    tls: bool = False,
    ca: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    headers: Mapping[str, str] | None = None,
    at_once: int = DEFAULT_CONCURRENCY,
) -> AsyncClient:
    """Return an AsyncClient; parameters as for `connect`. At most `at_once` calls run at a time."""
    client = connect(
        address,
        model=model,
        version=version,
        label=label,
        timeout_s=timeout_s,
        tls=tls,
        ca=ca,
        cert=cert,
        key=key,
        headers=headers,
    )
    return AsyncClient(client, at_once=at_once)
