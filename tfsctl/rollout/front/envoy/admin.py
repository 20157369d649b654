"""Envoy's admin interface: the counters of both versions, and which routes are in use."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from tfsctl.errors import EngineError
from tfsctl.rollout.front.envoy.routes import PROTOCOLS, Slot, cluster, shadow_cluster
from tfsctl.rollout.gate.slow_requests import Latencies

_TIMEOUT_S = 2.0
_FILTER = (
    r"^(cluster\.[ab]_(rest|grpc)_split\.(upstream_rq_(completed|[45]xx|total|active|time)|grpc\.(success|failure))"
    r"|cluster\.shadow_(rest|grpc)\.upstream_rq_pending_(overflow|failure_eject)"
    r"|http\.(rest|grpc)\.downstream_(rq_active|rq_completed|cx_active)"
    r"|http\.(rest|grpc)\.rds\..*version_text)$"
)


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Requests of one version that were answered, how many of the answers were errors, and how many were slow.

    Slow ones are counted once a rollout has a threshold. A request that its client gave up before the answer is slow.
    """

    requests: int = 0
    errors: int = 0
    slow: int = 0

    def __add__(self, other: RequestCounts) -> RequestCounts:
        """The sum."""
        return RequestCounts(self.requests + other.requests, self.errors + other.errors, self.slow + other.slow)

    def since(self, earlier: RequestCounts) -> RequestCounts:
        """What was counted since `earlier`; all of it if Envoy was restarted in between."""
        if self.requests < earlier.requests or self.errors < earlier.errors:
            return self
        slow = max(0, self.slow - earlier.slow)  # Envoy reads its counters one after the other
        return RequestCounts(self.requests - earlier.requests, self.errors - earlier.errors, slow)


@dataclass(frozen=True, slots=True)
class Statistics:
    """What Envoy counted since it started, and the generation of the routes of both protocols (0: not known)."""

    values: Mapping[str, int | str]
    histograms: Mapping[str, Latencies] = field(default_factory=dict)

    def counts(self, slot: Slot, slow_ms: float | None = None) -> RequestCounts:
        """The split requests of a slot. Errors are the REST statuses 4xx and 5xx, and gRPC statuses other than OK.

        Requests of at least `slow_ms` milliseconds are slow; None: the slow ones are not counted.
        """
        rest, grpc = _statistics_prefixes(slot)
        failed = self._number(f"{grpc}.grpc.failure")
        slow = 0
        if slow_ms is not None:
            abandoned = max(0, self._abandoned(rest)) + max(0, self._abandoned(grpc))
            slow = self.latencies(slot).slower_than(slow_ms) + abandoned
        return RequestCounts(
            self._number(f"{rest}.upstream_rq_completed") + self._number(f"{grpc}.grpc.success") + failed,
            self._number(f"{rest}.upstream_rq_4xx") + self._number(f"{rest}.upstream_rq_5xx") + failed,
            slow,
        )

    def latencies(self, slot: Slot) -> Latencies:
        """How long the split requests of a slot took, from the end of the request to the end of the answer."""
        rest, grpc = (
            self.histograms.get(f"{one}.upstream_rq_time", Latencies({})) for one in _statistics_prefixes(slot)
        )
        return rest + grpc

    def _abandoned(self, name: str) -> int:
        """The requests that have ended without an answer."""
        ended = self._number(f"{name}.upstream_rq_completed") + self._number(f"{name}.upstream_rq_active")
        return self._number(f"{name}.upstream_rq_total") - ended

    @property
    def generation(self) -> int:
        """The lower of the generations of the REST routes and the gRPC routes that Envoy uses."""
        found = [int(value or 0) for name, value in self.values.items() if name.endswith("version_text")]
        return min(found) if len(found) == 2 else 0

    @property
    def lost_copies(self) -> int:
        """The copies for a shadow that Envoy dropped: too many waited, or the collector could not be reached."""
        clusters = map(shadow_cluster, PROTOCOLS)
        reasons = ("overflow", "failure_eject")
        return sum(self._number(f"cluster.{one}.upstream_rq_pending_{why}") for one in clusters for why in reasons)

    @property
    def active(self) -> int:
        """The requests that are being answered."""
        return self._number("http.rest.downstream_rq_active") + self._number("http.grpc.downstream_rq_active")

    @property
    def answered(self) -> int:
        """The requests that were answered."""
        return self._number("http.rest.downstream_rq_completed") + self._number("http.grpc.downstream_rq_completed")

    @property
    def connections(self) -> int:
        """The open connections of clients."""
        return self._number("http.rest.downstream_cx_active") + self._number("http.grpc.downstream_cx_active")

    def _number(self, name: str) -> int:
        return int(self.values.get(name, 0))


def read_statistics(admin: str) -> Statistics:
    """Read the statistics over the admin socket at the path `admin`. Raises EngineError if Envoy does not answer."""
    answer = _call(admin, "GET", f"/stats?format=json&histogram_buckets=detailed&filter={quote(_FILTER)}")
    try:
        return parse_statistics(json.loads(answer)["stats"])
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(f"Envoy at {admin} answers with {answer[:100]!r}") from error


def parse_statistics(entries: Sequence[Any]) -> Statistics:
    """The statistics in an answer of Envoy. Counters have a name; all histograms are in one entry without a name."""
    values = {entry["name"]: entry["value"] for entry in entries if "name" in entry}
    details = [one for entry in entries if "histograms" in entry for one in entry["histograms"]["details"]]
    histograms = {
        one["name"]: Latencies(
            {each["lower_bound"]: (each["lower_bound"] + each["width"], each["count"]) for each in one["totals"]}
        )
        for one in details
    }
    return Statistics(values, histograms)


def _statistics_prefixes(slot: Slot) -> tuple[str, str]:
    """The prefixes of the statistics of a slot's split requests: over REST, and over gRPC."""
    rest, grpc = (f"cluster.{cluster(slot, protocol, split=True)}" for protocol in PROTOCOLS)
    return rest, grpc


def close_connections_after_answer(admin: str) -> None:
    """Have Envoy close each connection after its next answer. Raises EngineError if it does not answer."""
    _call(admin, "POST", "/healthcheck/fail")


def close_listeners(admin: str) -> None:
    """Have Envoy take no new connections, and close the others after their next answer.

    Raises EngineError if it does not answer.
    """
    close_connections_after_answer(admin)
    _call(admin, "POST", "/drain_listeners")


def reopen_logs(admin: str) -> None:
    """Have Envoy open its access logs again. Raises EngineError if it does not answer."""
    _call(admin, "POST", "/reopen_logs")


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
