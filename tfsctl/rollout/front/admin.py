"""Envoy's admin interface: the counters of both versions, and which routes are in use."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from tfsctl.errors import EngineError
from tfsctl.rollout.front.routes import Slot, cluster

_TIMEOUT_S = 2.0
_FILTER = (
    r"^(cluster\.[ab]_(rest|grpc)_split\.(upstream_rq_(completed|[45]xx)|grpc\.(success|failure|0|total))"
    r"|http\.(rest|grpc)\.downstream_rq_active"
    r"|http\.(rest|grpc)\.rds\..*version_text)$"
)


@dataclass(frozen=True, slots=True)
class Counts:
    """Requests of one version that were answered, and how many of the answers were errors."""

    requests: int = 0
    errors: int = 0

    def __add__(self, other: Counts) -> Counts:
        """The sum."""
        return Counts(self.requests + other.requests, self.errors + other.errors)

    def since(self, earlier: Counts) -> Counts:
        """What was counted since `earlier`; all of it if Envoy was restarted in between."""
        if self.requests < earlier.requests or self.errors < earlier.errors:
            return self
        return Counts(self.requests - earlier.requests, self.errors - earlier.errors)


@dataclass(frozen=True, slots=True)
class Statistics:
    """What Envoy counted since it started, and the generation of the routes of both protocols (0: not known)."""

    values: Mapping[str, int | str]

    def counts(self, slot: Slot) -> Counts:
        """The split requests of a slot. Errors are the REST statuses 4xx and 5xx, and gRPC statuses other than OK."""
        rest, grpc = (f"cluster.{cluster(slot, protocol, split=True)}" for protocol in ("rest", "grpc"))
        failed = self._number(f"{grpc}.grpc.failure")
        return Counts(
            self._number(f"{rest}.upstream_rq_completed") + self._number(f"{grpc}.grpc.success") + failed,
            self._number(f"{rest}.upstream_rq_4xx") + self._number(f"{rest}.upstream_rq_5xx") + failed,
        )

    @property
    def generation(self) -> int:
        """The lower of the generations of the REST routes and the gRPC routes that Envoy uses."""
        found = [int(value or 0) for name, value in self.values.items() if name.endswith("version_text")]
        return min(found) if len(found) == 2 else 0

    @property
    def active(self) -> int:
        """The requests that are being answered."""
        return self._number("http.rest.downstream_rq_active") + self._number("http.grpc.downstream_rq_active")

    def _number(self, name: str) -> int:
        return int(self.values.get(name, 0))


def read_statistics(admin: str) -> Statistics:
    """Read the statistics over the admin socket at the path `admin`. Raises EngineError if Envoy does not answer."""
    answer = _call(admin, "GET", f"/stats?format=json&filter={quote(_FILTER)}")
    try:
        found = {entry["name"]: entry["value"] for entry in json.loads(answer)["stats"] if "name" in entry}
    except (ValueError, KeyError) as error:
        raise EngineError(f"Envoy at {admin} answers with {answer[:100]!r}") from error
    return Statistics(found)


def close_listeners(admin: str) -> None:
    """Have Envoy take no new connections, and close the others after their next answer.

    Raises EngineError if it does not answer.
    """
    _call(admin, "POST", "/healthcheck/fail")
    _call(admin, "POST", "/drain_listeners")


def _call(admin: str, method: str, path: str) -> bytes:
    connection = _UnixConnection(admin)
    try:
        connection.request(method, path)
        return connection.getresponse().read()
    except (OSError, http.client.HTTPException) as error:
        raise EngineError(f"Envoy does not answer at {admin}: {error}") from error
    finally:
        connection.close()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_TIMEOUT_S)
        self.sock.connect(self._path)
