"""The record of one model server: how it runs and where it answers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # client commands read records, and need none of these
    from tfsctl.engines.engine import ServerProcess
    from tfsctl.engines.launch_spec import EngineName, LaunchSpec

# An address that means "all interfaces" -> the address at which this machine reaches it.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to

_STORED_IF_SET = ("bind_address", "certificate", "client_ca")


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """One model server.

    - `host`: the address at which clients reach it; `bind_address`: the one it listens on ("" if that is not known)
    - `pid`: set for a process; `container` (an id): set for a container
    - `started_at`: Unix time in seconds
    - `log_path`: None for a container, whose log Docker keeps
    - `certificate`, `client_ca`: the files of gRPC over TLS; None without TLS, or without client certificates

    Record files and the environment of running servers hold these field names.
    """

    name: str
    engine: EngineName
    host: str
    rest_port: int
    grpc_port: int
    models: tuple[str, ...]
    pid: int | None
    container: str | None
    started_at: float
    log_path: str | None
    bind_address: str = ""
    certificate: str | None = None
    client_ca: str | None = None

    def to_document(self) -> dict[str, Any]:
        """The record as JSON values, without unset fields that version 0.1 did not have."""
        return {key: value for key, value in asdict(self).items() if key not in _STORED_IF_SET or value}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> ServerRecord:
        """The record that `to_document` wrote. Raises TypeError, KeyError or ValueError for anything else."""
        record = cls(**{**document, "models": tuple(document["models"])})
        texts = (record.name, record.engine, record.host, record.bind_address, *record.models)
        optional = (record.container, record.log_path, record.certificate, record.client_ca)
        numbers = (record.rest_port, record.grpc_port, 1 if record.pid is None else record.pid)
        if (
            not all(isinstance(text, str) for text in texts)
            or not all(text is None or isinstance(text, str) for text in optional)
            or not all(isinstance(number, int) and 0 <= number < 1 << 31 for number in numbers)
            or not isinstance(record.started_at, (int, float))
            or not abs(record.started_at) < 1e12
        ):
            raise TypeError("not a record of a server")
        return record

    @property
    def url(self) -> str:
        """The base URL of its REST API."""
        return f"http://{self._address(self.rest_port)}"

    @property
    def grpc_address(self) -> str:
        """HOST:PORT of its gRPC API."""
        return self._address(self.grpc_port)

    def _address(self, port: int) -> str:
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"


def record_of(spec: LaunchSpec, engine: EngineName, process: ServerProcess) -> ServerRecord:
    """The record of a server that is being started now."""
    tls = spec.config.tls
    return ServerRecord(
        name=spec.name,
        engine=engine,
        host=reachable_host(spec.host),
        rest_port=process.rest_port,
        grpc_port=process.grpc_port,
        models=tuple(model.name for model in spec.config.models),
        pid=process.pid,
        container=process.container,
        started_at=time.time(),
        log_path=process.log_path,
        bind_address=process.bind_address,
        certificate=None if tls is None else tls.certificate,
        client_ca=None if tls is None else tls.ca,
    )


def reachable_host(host: str) -> str:
    """The address at which this machine reaches a server that listens on `host`."""
    return _LOOPBACK.get(host, host)
