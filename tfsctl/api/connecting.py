"""`connect` and `connect_async`: make a client from an address, or for a running server, with TLS and headers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from tfsctl.api.address import Address, tls_and_headers
from tfsctl.api.async_client import DEFAULT_CONCURRENCY, AsyncClient
from tfsctl.api.client import Client
from tfsctl.api.hints import python_errors, python_hint
from tfsctl.api.requests import checked_version
from tfsctl.clients.connection import (
    DEFAULT_CONNECTION,
    DEFAULT_MAX_ANSWER_BYTES,
    DEFAULT_TIMEOUT_S,
    ClientTls,
    Connection,
    check_timeout,
    with_headers,
)
from tfsctl.clients.factory import open_client
from tfsctl.clients.profiles.profile_file import load_profile
from tfsctl.core.types import DEFAULT_GRPC_PORT, ModelRef
from tfsctl.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from tfsctl.engines.server_record import ServerRecord

_DEFAULT_ADDRESS = Address("grpc", "localhost", DEFAULT_GRPC_PORT)
_ANOTHER_SERVER = 'tfsctl.serve("PATH") starts one; tfsctl.connect("HOST:PORT") reaches another server'


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """The server that the arguments of `connect` choose, and the defaults of its client.

    - `base`: the TLS files and headers of a profile
    - `record`: the record of the server, if it is known that tfsctl started it
    """

    address: Address
    model: str | None
    version: int | None
    label: str | None
    base: Connection = DEFAULT_CONNECTION
    record: ServerRecord | None = None

    def default_model(self) -> ModelRef | None:
        """The model of calls that name none: the chosen one, or the only one of the server.

        Raises InvalidInput for a version or label without a model.
        """
        model = self.model
        if model is None and self.record is not None and len(self.record.models) == 1:
            model = self.record.models[0]
        if model is None and (self.version is not None or self.label is not None):
            raise InvalidInput("a version or label needs a model", hint='tfsctl.connect(model="NAME")')
        return None if model is None else ModelRef(model, checked_version(self.version), self.label)


@python_errors()
def connect(
    address: str | None = None,
    *,
    server: str | None = None,
    profile: str | None = None,
    model: str | None = None,
    version: int | None = None,
    label: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    tls: bool = False,
    ca: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    tls_server_name: str | None = None,
    headers: Mapping[str, str] | None = None,
    max_answer_bytes: int = DEFAULT_MAX_ANSWER_BYTES,
) -> Client:
    """Return a client for a model server. Nothing is sent before its first call.

    - `host:port`, `grpc://host:port` and `unix:/path` use gRPC; `http://host:port` and the URL of a model use REST.
    - Without an address, it is the running server that tfsctl started, from the command line or from Python: the one
      named `server`, or the only one that serves `model`, or the only one. Its only model is the default for `model`.
    - `profile` is the name of a remote server in the config file, as for `tfsctl --profile`. Its model, TLS files and
      headers are the defaults.
    - `grpcs://`, `https://` and `tls=True` use TLS. `ca` is the certificate authority to trust (default: the system's);
      `cert` and `key` are the client's certificate. All three are PEM files. `tls_server_name` is the name in the
      server's certificate (default: the host). The TLS of a server that was found is used, and its certificate trusted.
    - `headers` are sent with every request, as gRPC metadata or HTTP headers.
    - `timeout_s` is the time limit of each call, in seconds. `max_answer_bytes` is the size of the largest answer.
    - If tfsctl started the server at the address, and it has only one model, that is the default for `model`.

    Raises InvalidInput if the address is not one of these forms, or if several servers fit, and NotFound if no server
    that tfsctl started fits.
    """
    if version is not None and label is not None:
        raise InvalidInput("version and label both choose a version", hint="remove one of them")
    if profile is not None and (address is not None or server is not None):
        raise InvalidInput("a profile and an address or server's name both choose a server", hint="remove one of them")
    if address is not None and server is not None:
        raise InvalidInput("an address and a server's name both choose a server", hint="remove one of them")
    check_timeout("timeout_s", timeout_s)
    if profile is not None:
        endpoint = _profile_endpoint(profile, model, version, label)
    elif address is not None:
        endpoint = _address_endpoint(Address.parse(address), model, version, label)
    else:
        endpoint = _running_endpoint(server, model, version, label)
    default_model = endpoint.default_model()
    at, base = endpoint.address, endpoint.base
    own = tls_and_headers(
        tls=tls or at.is_encrypted, ca=ca, cert=cert, key=key, tls_server_name=tls_server_name, headers=headers
    )
    connection = Connection(
        tls=_with_known_certificate(endpoint, None if own.tls is None else own.tls.over(base.tls)),
        headers=with_headers(base.headers, own.headers),
        path=at.path,
        max_answer_bytes=max_answer_bytes,
    )
    opened = partial(open_client, at.transport, at.host, at.port, timeout_s=timeout_s, connection=connection)
    return Client(opened, default_model)


def connect_async(
    address: str | None = None,
    *,
    server: str | None = None,
    profile: str | None = None,
    model: str | None = None,
    version: int | None = None,
    label: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    tls: bool = False,
    ca: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    tls_server_name: str | None = None,
    headers: Mapping[str, str] | None = None,
    max_answer_bytes: int = DEFAULT_MAX_ANSWER_BYTES,
    at_once: int = DEFAULT_CONCURRENCY,
) -> AsyncClient:
    """Return an AsyncClient; parameters as for `connect`. At most `at_once` calls run at a time; others queue."""
    client = connect(
        address,
        server=server,
        profile=profile,
        model=model,
        version=version,
        label=label,
        timeout_s=timeout_s,
        tls=tls,
        ca=ca,
        cert=cert,
        key=key,
        tls_server_name=tls_server_name,
        headers=headers,
        max_answer_bytes=max_answer_bytes,
    )
    return AsyncClient(client, at_once=at_once)


def _profile_endpoint(name: str, model: str | None, version: int | None, label: str | None) -> _Endpoint:
    """The server of a profile, whose model is the default. Raises what `load_profile` raises."""
    remote = load_profile(name)
    base = remote.connection
    at = Address(remote.transport, remote.host, remote.port, base.tls is not None, base.path)
    return _Endpoint(at, remote.model if model is None else model, version, label, base)


def _address_endpoint(at: Address, model: str | None, version: int | None, label: str | None) -> _Endpoint:
    """The server at an address, and the model if the address is the URL of one. Raises InvalidInput for two models."""
    if at.model is None:
        return _Endpoint(at, model, version, label, record=_server_at(at) if model is None else None)
    if model not in (None, at.model.name):
        raise InvalidInput(
            f"the address is that of the model {at.model.name}, and model is {model}", hint="remove one of them"
        )
    if version is None and label is None:
        version, label = at.model.version, at.model.label
    return _Endpoint(at, at.model.name, version, label)


def _running_endpoint(server: str | None, model: str | None, version: int | None, label: str | None) -> _Endpoint:
    """The running server that tfsctl started, or the default address. Raises NotFound, InvalidInput."""
    found = _find_server(server, model)
    at = _DEFAULT_ADDRESS if found is None else _address_of(found)
    return _Endpoint(at, model, version, label, record=found)


def _with_known_certificate(endpoint: _Endpoint, tls: ClientTls | None) -> ClientTls | None:
    """The TLS files, completed by those of a server that tfsctl started and that has TLS for gRPC."""
    if endpoint.record is None or endpoint.address.transport != "grpc":
        return tls
    from tfsctl.engines.registry.server_choice import grpc_tls

    return grpc_tls(endpoint.record, tls)


def _find_server(server: str | None, model: str | None) -> ServerRecord | None:
    """Return the running server of a name, or that serves a model. Raises NotFound, and InvalidInput for several.

    Returns None if no server is running and only a model is given: it is expected on this machine at the default port,
    as the command line does.
    """
    from tfsctl.engines.registry import records
    from tfsctl.engines.registry.server_choice import choose_server

    running = records.running()
    if not running and server is None and model is not None:
        return None
    try:
        return choose_server(running, model=model, name=server)
    except InvalidInput as error:
        error.hint = 'choose one: tfsctl.connect(server="NAME"), or tfsctl.connect(model="NAME")'
        raise
    except NotFound as error:
        is_for_cli = not error.hint or ("--" in error.hint and not error.hint.startswith("did you mean"))
        error.hint = _ANOTHER_SERVER if is_for_cli else python_hint(error.hint)
        raise


def _address_of(record: ServerRecord) -> Address:
    """Return the address of the gRPC API, or of the REST API if the server has no gRPC port."""
    return Address.parse(record.grpc_address if record.grpc_port else record.url)


def _server_at(address: Address) -> ServerRecord | None:
    """Return the server at an address, if tfsctl started it and it runs."""
    from tfsctl.engines.registry import records

    for record in records.running():
        port = record.rest_port if address.transport == "rest" else record.grpc_port
        if port == address.port and address.host in (record.host, "localhost"):
            return record
    return None
