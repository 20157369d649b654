"""The state of one shadow as a value: its plan, what its collector has counted, and how it ended."""

from __future__ import annotations

import time
import uuid
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

ShadowStatus = Literal["starting", "running", "stopped", "completed", "failed"]
ACTIVE: tuple[ShadowStatus, ...] = ("starting", "running")
MAX_ROWS = 200_000


@dataclass(frozen=True, slots=True)
class ShadowPlan:
    """The settings of a shadow, which the operator chose.

    - `sample`: the share of the predict requests that are copied
    - `atol`, `rtol`: the tolerance within which two numbers agree
    - `signature`: requests for other signatures are not compared
    - `max_rows`: the shadow ends after comparing this many rows, which bounds its memory
    - `min_agreement`: the share of requests that must agree, for the gate of a canary
    - `timeout_s`: how long the new version may load; `request_timeout_s`: the deadline of each request of the collector
    """

    model: str
    version: int
    sample: float
    atol: float = 1e-5
    rtol: float = 1e-4
    signature: str = "serving_default"
    max_rows: int = MAX_ROWS
    min_agreement: float | None = None
    timeout_s: float = 60.0
    request_timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class ShadowProgress:
    """What the collector of a shadow has counted, which it writes twice a second.

    - `beat`: the heartbeat, which grows with each write: a collector that hangs does not write
    - `copies`: requests that were received; `dropped` of them because the queue was full; `skipped` of them because they
      cannot be compared (another signature, a version by number, not a predict request)
    - `samples`: requests with an answer of the stable version (A); `a_failures` had none; `b_failures` of the samples had
      none of the new version (B)
    - `rows`: the rows that both answered; `disagreeing`: the sum over the samples of the share that disagrees
    - `log_evidence` is that of the gate of agreement, and `log_values` continue it
    """

    shadow: str
    beat: int = 0
    copies: int = 0
    dropped: int = 0
    skipped: int = 0
    samples: int = 0
    a_failures: int = 0
    b_failures: int = 0
    rows: int = 0
    disagreeing: float = 0.0
    log_evidence: float = 0.0
    log_values: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Shadow:
    """A shadow that compares `plan.version` (B) with `from_version` (A). Times are Unix times in seconds.

    `lost`: copies that Envoy dropped, because too many waited or the collector could not be reached.
    """

    plan: ShadowPlan
    from_version: int
    operator: str
    started_at: float
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    status: ShadowStatus = "starting"
    reason: str = ""
    ended_at: float | None = None
    progress: ShadowProgress | None = None
    lost: int = 0

    @property
    def is_active(self) -> bool:
        """Whether it has not ended."""
        return self.status in ACTIVE

    def ended(self, status: ShadowStatus, reason: str) -> Shadow:
        """The shadow with its end."""
        return replace(self, status=status, reason=reason, ended_at=time.time())

    def begun_again(self) -> Shadow:
        """The shadow started again: the same plan with a new id, and without counts."""
        return Shadow(self.plan, self.from_version, self.operator, time.time())


def shadow_document(shadow: Shadow, collector_starts: int) -> dict[str, Any]:
    """What `tfsctl shadow --json` prints about a shadow besides its comparison, with the starts of its collector."""
    progress = asdict(shadow.progress or ShadowProgress(shadow.id))
    counts = ("copies", "dropped", "skipped", "samples", "a_failures", "b_failures", "rows", "disagreeing")
    return {
        "model": shadow.plan.model,
        "a": shadow.from_version,
        "b": shadow.plan.version,
        "sample": shadow.plan.sample,
        "status": shadow.status,
        "reason": shadow.reason,
        "operator": shadow.operator,
        "started_at": shadow.started_at,
        "ended_at": shadow.ended_at,
        "collector_starts": collector_starts,
        **{name: progress[name] for name in counts},
        "copies": progress["copies"] + shadow.lost,
        "dropped": progress["dropped"] + shadow.lost,
    }
