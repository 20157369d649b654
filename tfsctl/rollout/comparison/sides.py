"""The two sides of a comparison: connect to a version that is served, or serve a directory during the comparison.

./amazon_review/1790000000          a version, or the base directory of a model (its latest version)
amazon_review@1790000000            a version of a server that tfsctl started
amazon_review@stable                a label
http://host:8501/v1/models/NAME     any server: /versions/N and /labels/L choose a version
grpc://host:8500/NAME@VERSION       any server, over gRPC
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tfsctl.clients.connection import DEFAULT_CONNECTION, DEFAULT_TIMEOUT_S, ClientTls, Connection, Transport
from tfsctl.clients.factory import open_client
from tfsctl.clients.serving_client import ServingClient
from tfsctl.core import model_dir
from tfsctl.core.types import DEFAULT_GRPC_PORT, ModelMetadata, ModelRef
from tfsctl.engines.planning import serve_plan, server_control
from tfsctl.engines.planning.serve_options import ServeOptions
from tfsctl.engines.planning.server_handle import ServerHandle
from tfsctl.engines.registry import records, usage
from tfsctl.engines.registry.server_choice import choose_server, grpc_tls
from tfsctl.engines.server_record import ServerRecord
from tfsctl.errors import InvalidInput, NotFound
from tfsctl.inputs.server_url import parse_server_url
from tfsctl.rollout.comparison.result import SideFacts

LOAD_TIMEOUT_S = 300.0
TEMPORARY = "compare-"  # the prefix of the names of servers that run for one comparison


@dataclass(frozen=True)
class Side:
    """One version that answers. `model` names exactly that version, so a swap in between changes nothing."""

    name: str
    client: ServingClient
    model: ModelRef
    served: ModelMetadata
    directory: Path | None = None
    handle: ServerHandle | None = None
    load_s: float | None = None

    def facts(self) -> SideFacts:
        """The properties of the version: its size on disk, and the memory of a server that serves it alone."""
        memory = None
        if self.handle is not None:
            pid = self.handle.record.pid
            found = usage.process_usage([pid] if pid else []).get(pid or 0)
            memory = None if found is None else found.memory_bytes
        size = None if self.directory is None else _size(self.directory)
        model = (
            self.model.name if self.handle is None or self.directory is None else self.directory.resolve().parent.name
        )
        return SideFacts(self.name, model, self.served.version, self.directory, size, memory, self.load_s)


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach the sides that are served already: the transport, the time limit of each call, TLS and headers."""

    transport: Transport = "grpc"
    timeout_s: float = DEFAULT_TIMEOUT_S
    connection: Connection = DEFAULT_CONNECTION


def check_side(text: str) -> None:
    """Raise NotFound for the text of a side that names no directory and cannot be a name or a URL."""
    name, at, version = text.partition("@")
    if "://" in text or os.path.isdir(text):
        return
    if not name or (at and not version) or os.sep in text:
        raise NotFound(f"there is no directory {text}", hint="name a directory, NAME@VERSION, NAME@LABEL or a URL")


@contextmanager
def open_side(text: str, role: str, access: Access) -> Iterator[Side]:
    """Connect to the version that `text` names. A directory is served by an embedded server while the block lasts.

    `role` (`a`, `b`) tells the temporary servers apart. Raises NotFound, InvalidInput, and what starting a server and
    fetching metadata raise.
    """
    if "://" in text:
        with _open_url(text, access) as (client, model):
            yield _side(text, client, model)
    elif os.path.isdir(text):
        with _open_directory(Path(text), text, role, access) as side:
            yield side
    else:
        yield from _open_name(text, role, access)


def _open_name(text: str, role: str, access: Access) -> Iterator[Side]:
    check_side(text)
    name, _, version = text.partition("@")
    running = [one for one in records.running() if not one.name.startswith(TEMPORARY)]
    record = choose_server(running, model=name, has_model_option=False)
    model = parse_ref(name, version)
    with _client_of(record, access) as client:
        try:
            side = _side(text, client, model)
        except NotFound:
            directory = _directory_of(record, name, model.version)
            if directory is None:
                raise
        else:
            yield replace(side, directory=_directory_of(record, name, side.served.version))
            return
    with _open_directory(directory, text, role, access) as served:
        yield served


def parse_ref(name: str, version: str) -> ModelRef:
    """`NAME@VERSION` or `NAME@LABEL`: a number is a version, other text a label. Without `@`, the latest version."""
    if (number := model_dir.parse_version(version)) is not None:
        return ModelRef(name, version=number)
    return ModelRef(name, label=version or None)


@contextmanager
def _open_url(text: str, access: Access) -> Iterator[tuple[ServingClient, ModelRef]]:
    if text.startswith(("grpc://", "grpcs://")):
        parts = urlsplit(text)
        name, _, version = unquote(parts.path.strip("/")).partition("@")
        if not parts.hostname or not name:
            raise InvalidInput(f"{text} does not name a model", hint="write grpc://HOST:PORT/NAME@VERSION")
        connection = _with_tls(access.connection, is_encrypted=parts.scheme == "grpcs")
        port = parts.port or DEFAULT_GRPC_PORT
        with open_client("grpc", parts.hostname, port, timeout_s=access.timeout_s, connection=connection) as client:
            yield client, parse_ref(name, version)
        return
    url = parse_server_url(text)
    if url.model is None:
        raise InvalidInput(f"{text} does not name a model", hint="write http://HOST:PORT/v1/models/NAME/versions/N")
    connection = replace(_with_tls(access.connection, is_encrypted=url.is_encrypted), path=url.path)
    with open_client("rest", url.host, url.port, timeout_s=access.timeout_s, connection=connection) as client:
        yield client, ModelRef(url.model, url.version, url.label)


def _side(text: str, client: ServingClient, model: ModelRef) -> Side:
    served = client.metadata(model)
    pinned = model if served.version is None else ModelRef(model.name, version=served.version)
    return Side(text, client, pinned, served)


@contextmanager
def _open_directory(directory: Path, text: str, role: str, access: Access) -> Iterator[Side]:
    options = ServeOptions(
        paths=(directory,), name=f"{TEMPORARY}{os.getpid()}-{role}", engine="embedded", rest_port=0, grpc_port=0
    )
    plan = serve_plan.make_plan(options)
    server_control.prepare(plan)
    start = time.perf_counter()
    handle = server_control.start(plan, detach=False, wait_timeout_s=LOAD_TIMEOUT_S)
    load_s = time.perf_counter() - start
    try:
        record = handle.record
        with _client_of(record, replace(access, connection=DEFAULT_CONNECTION)) as client:
            side = _side(text, client, ModelRef(record.models[0]))
            version_dir = directory if model_dir.is_version_dir(directory) else _version(directory, side.served.version)
            yield replace(side, directory=version_dir, handle=handle, load_s=load_s)
    finally:
        handle.stop()


def _client_of(record: ServerRecord, access: Access) -> ServingClient:
    """A client of a server that tfsctl started. Its certificate is trusted."""
    connection = access.connection
    if access.transport == "grpc":
        connection = replace(connection, tls=grpc_tls(record, connection.tls))
    port = _port(record, access.transport)
    return open_client(access.transport, record.host, port, timeout_s=access.timeout_s, connection=connection)


def _with_tls(connection: Connection, *, is_encrypted: bool) -> Connection:
    """The connection with TLS if the URL has it. The system's authorities are trusted if no file was given."""
    return connection if connection.tls or not is_encrypted else replace(connection, tls=ClientTls())


def _port(record: ServerRecord, transport: Transport) -> int:
    port = record.grpc_port if transport == "grpc" else record.rest_port
    if not port:
        raise InvalidInput(f"{record.name} has no {transport} port")
    return port


def _directory_of(record: ServerRecord, model: str, version: int | None) -> Path | None:
    """The directory of a version below the base path of a server that tfsctl started; None if that is not known."""
    launch = records.launch_document(record)
    if launch is None or version is None:
        return None
    from tfsctl.engines.launch_spec import LaunchSpec

    for one in LaunchSpec.from_document(launch).config.models:
        if one.name == model:
            return _version(Path(one.base_path), version)
    return None


def _version(base: Path, version: int | None) -> Path | None:
    try:
        return next((one.path for one in model_dir.list_versions(base) if one.version == version), None)
    except NotFound:
        return None


def _size(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
